"""One thread for short trainings of small models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and the linear algebra of NumPy and SciPy on one thread inside.

    For models this small a second thread costs more than it gives, and beside another process that trains it waits for
    a processor that is taken. It also keeps figures from depending on the number of cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
