"""Work on the files of a pool in a few threads, a block of them queued at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
BLOCK = 1024
"""Items queued at a time, so that a large pool does not hold a future for each of its files."""
_WORKERS = 4


def worked_through(work: Callable[[S], T], items: Sequence[S], *, name: str) -> Iterator[T]:
    """What work gives for each item, in order.

    Args:
        name: of the threads.
    """
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix=name) as workers:
        for start in range(0, len(items), BLOCK):
            yield from workers.map(work, items[start : start + BLOCK])
