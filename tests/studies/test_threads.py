import torch
from threadpoolctl import threadpool_info, threadpool_limits

from foresift.studies.threads import one_thread


def linear_algebra() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_training_and_linear_algebra_have_one_thread_inside_and_as_many_as_before_outside() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with threadpool_limits(limits=2, user_api="blas"):
            outside = linear_algebra()
            with one_thread():
                assert (torch.get_num_threads(), linear_algebra()) == (1, {1})
            assert (torch.get_num_threads(), linear_algebra()) == (2, outside)
    finally:
        torch.set_num_threads(before)
