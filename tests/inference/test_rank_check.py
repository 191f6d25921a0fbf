"""Rank agreement against SciPy and against a slow definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from foresift.core.errors import UsageError
from foresift.inference.rank_check import (
    ALIKE,
    MIN_COMPARED,
    Alike,
    RankCheck,
    rank_check,
    spearman,
    top_overlap,
)

TIED = st.integers(0, 4).map(float)
"""So few values that ties are the rule."""
PAIRS = st.integers(2, 40).flatmap(
    lambda n: st.tuples(arrays(np.float64, n, elements=TIED), arrays(np.float64, n, elements=TIED))
)


@given(PAIRS)
def test_correlation_is_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = pair
    if np.ptp(first) and np.ptp(second):
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)


def test_correlation_of_constants() -> None:
    constant, other = np.ones(5), np.arange(5.0)
    assert spearman(constant, constant * 2) == 1
    assert spearman(constant, other) == spearman(other, constant) == 0


@given(PAIRS, st.data())
def test_overlap_is_the_share_of_picks_that_the_reference_might_have_made(
    pair: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    """Enumerated: a pick agrees if some top k of the reference, ties broken in some way, holds it."""
    reference, candidate = (values[:7] for values in pair)
    k = data.draw(st.integers(1, len(reference)))
    best = sum(sorted(reference)[-k:])
    tops = [
        set(rows) for rows in itertools.combinations(range(len(reference)), k) if reference[list(rows)].sum() == best
    ]
    possible = set().union(*tops)
    picks = np.argsort(-candidate, kind="stable")[:k].tolist()
    assert top_overlap(reference, candidate, k) == pytest.approx(sum(pick in possible for pick in picks) / k)


def test_overlap_counts_ties_at_the_cut_as_agreement() -> None:
    reference = np.array([3.0, 2, 2, 2, 1])
    assert top_overlap(reference, np.array([9.0, 0, 0, 8, 0]), 2) == 1
    assert top_overlap(reference, np.array([9.0, 0, 0, 0, 8]), 2) == 0.5
    assert top_overlap(reference, -reference, 5) == 1


@pytest.mark.parametrize(
    ("n", "share", "k"),
    [(1, 0.5, 1), (10, 1e-9, 10), (512, 0.001, MIN_COMPARED), (512, 0.1, 51), (512, 1.0, 512)],
)
def test_the_share_is_at_least_a_few_images_and_at_most_all(n: int, share: float, k: int) -> None:
    values = np.arange(float(n))
    check = rank_check(values, values, share=share)
    assert (check.n, check.k, check.overlap) == (n, k, 1)


def test_the_gate() -> None:
    def check(correlation: float, overlap: float) -> bool:
        return RankCheck(correlation=correlation, overlap=overlap, n=9, k=3).passed

    assert (ALIKE.correlation, ALIKE.overlap) == (0.99, 0.97)
    assert check(0.99, 0.97)
    assert not check(0.9899, 1)
    assert not check(1, 0.9699)


def test_less_may_be_asked_for_and_stands_in_the_receipt() -> None:
    less = RankCheck(correlation=0.5, overlap=0.4, n=9, k=3, expected=Alike(correlation=0.5, overlap=0.4))
    assert less.passed
    assert less.to_dict()["expected"] == {"correlation": 0.5, "overlap": 0.4}
    for wrong in ({"correlation": 1.1}, {"overlap": -0.1}, {"overlap": float("nan")}):
        with pytest.raises(UsageError, match="must be within"):
            Alike(**wrong)


def test_a_good_candidate_passes_and_a_shuffled_one_does_not() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=500)
    assert rank_check(values, values + 1e-4 * rng.normal(size=500), share=0.1).passed
    assert not rank_check(values, rng.permutation(values), share=0.1).passed
    # the same order everywhere but at the top
    wrong_top = values.copy()
    top = np.argsort(values)[-50:]
    wrong_top[top] = values.min() - 1 - np.arange(50)
    check = rank_check(values, wrong_top, share=0.1)
    assert check.overlap == 0
    assert check.to_dict()["passed"] is False
