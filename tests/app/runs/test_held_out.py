"""What is measured on is not left to choose, whether it has the same id or the same bytes."""

from __future__ import annotations

import pytest

from foresift.app.runs.held_out import left_to_choose
from foresift.core.samples import Pool


def pool_of(ids: list[str], digests: list[str]) -> Pool:
    return Pool.from_columns("pool", ids, uris=ids, digests=digests)


@pytest.mark.parametrize(
    ("ids", "digests", "left"),
    [
        (["b", "x"], ["1", "2"], [True, False, True]),
        (["x", "y"], ["", "C"], [True, True, False]),
        (["a", "x"], ["", "B"], [False, False, True]),
    ],
)
def test_the_id_or_the_bytes_of_an_evaluation_set_are_not_left(
    ids: list[str], digests: list[str], left: list[bool]
) -> None:
    keep, notes = left_to_choose(pool_of(["a", "b", "c"], ["", "B", "C"]), pool_of(ids, digests))
    assert keep.tolist() == left
    assert notes == [f"{left.count(False)} images are in the evaluation set as well; they are never chosen"]


def test_an_evaluation_set_of_other_images_leaves_all_and_says_nothing() -> None:
    keep, notes = left_to_choose(pool_of(["a", "b"], ["", "B"]), pool_of(["x"], [""]))
    assert (keep.tolist(), notes) == ([True, True], [])
