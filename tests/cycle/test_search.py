"""Sizes, starts, outliers and the held-out part: the pure half of a search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import LabelError, UnknownNameError, UsageError
from foresift.cycle.search import (
    SCHEMES,
    check_legal,
    check_outliers,
    counts_of,
    doubled,
    random_rows,
    scheme_of,
    start_count,
)


def test_shares_and_counts_become_numbers_of_samples() -> None:
    assert counts_of([0.125, 0.25, 1.0], 800) == (100, 200, 800)
    assert counts_of([10, 800], 800) == (10, 800)
    assert counts_of([1], 800) == (800,)


@pytest.mark.parametrize("sizes", [[], [0.5, 0.25], [0.5, 0.5], [801], [0], [-0.1], [10.5], [True], [0.0001]])
def test_sizes_that_make_no_sense_are_refused(sizes: list[float]) -> None:
    with pytest.raises(UsageError):
        counts_of(sizes, 800)


def test_growth_doubles_as_in_the_source() -> None:
    assert doubled(0.125, 0.5) == (0.125, 0.25, 0.5)
    assert doubled(0.2, 0.8) == (0.2, 0.4, 0.8)
    assert doubled(0.1, 0.25) == (0.1, 0.2, 0.25)
    assert doubled(0.3, 0.3) == (0.3,)
    with pytest.raises(UsageError, match="growth"):
        doubled(0.5, 0.25)


def test_the_random_start_is_half_of_the_first_size_unless_asked_for() -> None:
    assert start_count(100, None, 800) == 50
    assert start_count(100, 0.05, 800) == 40
    assert start_count(100, 20, 800) == 20
    with pytest.raises(UsageError, match="below the first size"):
        start_count(100, 0.125, 800)


def test_outliers_must_leave_enough_for_the_last_stage() -> None:
    assert check_outliers(0.0, n=800, sizes=(800,)) == 0
    assert check_outliers(0.1, n=800, sizes=(400,)) == 80
    with pytest.raises(UsageError, match="leave 720"):
        check_outliers(0.1, n=800, sizes=(721,))
    for bad in (-0.1, 1.0):
        with pytest.raises(UsageError, match="within"):
            check_outliers(bad, n=800, sizes=(1,))


@given(st.integers(1, 300), st.integers(0, 5), st.data())
def test_a_larger_random_part_holds_the_smaller_one(n: int, seed: int, data: st.DataObject) -> None:
    small = data.draw(st.integers(0, n))
    large = data.draw(st.integers(small, n))
    few, many = random_rows(n, small, seed=seed), random_rows(n, large, seed=seed)
    assert len(np.unique(few)) == small
    assert set(few.tolist()) <= set(many.tolist())


def test_what_reads_every_label_is_refused_where_some_are_missing() -> None:
    check_legal(SCHEMES["build-up"].needs, what="scheme build-up", unlabeled=5, of=10)
    check_legal(SCHEMES["compress"].needs, what="scheme compress", unlabeled=0, of=10)
    for needs in (SCHEMES["pretrain"].needs, SCHEMES["compress"].needs, ("members", "truth")):
        with pytest.raises(LabelError, match="build-up with mutual-information"):
            check_legal(needs, what="this", unlabeled=5, of=10)


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'build-up'"):
        scheme_of("buildup")
