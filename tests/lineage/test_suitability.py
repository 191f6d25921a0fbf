"""Laws of the figures that tell a good surrogate, against slow references and by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foresift.core.errors import UsageError
from foresift.lineage.suitability import (
    Scored,
    Suitability,
    bootstrapped,
    findings,
    mean_interval,
    rank_correlation,
    suitability,
    top_overlap,
    variation,
)

VALUES = arrays(np.float64, st.integers(3, 12), elements=st.integers(-4, 4).map(float))


def naive_ranks(values: np.ndarray) -> list[float]:
    """1 + how many are smaller + half of the others that are equal."""
    return [1 + sum(o < v for o in values) + (sum(o == v for o in values) - 1) / 2 for v in values]


def naive_spearman(a: np.ndarray, b: np.ndarray) -> float:
    x, y = naive_ranks(a), naive_ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    scale = math.sqrt(sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y))
    return top / scale if scale else 0.0


def scored(rng: np.random.Generator, n: int) -> Scored:
    return Scored(surrogate=rng.random(n), again=rng.random(n), deployment=rng.random(n))


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(0, 1000))
def test_rank_correlation_is_the_textbook_one_with_ties(a: np.ndarray, seed: int) -> None:
    b = np.random.default_rng(seed).integers(0, 4, size=len(a)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(naive_spearman(a, b), abs=1e-12)


def test_only_the_order_matters() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=50)
    assert rank_correlation(np.exp(3 * a), b) == rank_correlation(a, b)
    assert rank_correlation(a, a) == 1
    assert rank_correlation(-a, a) == -1
    assert rank_correlation(np.ones(50), a) == 0


def test_overlap_counts_what_both_would_take() -> None:
    a, b = np.array([5.0, 4, 3, 2, 1]), np.array([1.0, 5, 4, 2, 3])
    assert top_overlap(a, b, 2) == 0.5
    assert top_overlap(a, b, 5) == 1
    assert top_overlap(a, -a, 2) == 0
    ties = np.zeros(6)
    assert top_overlap(ties, ties, 3) == 1, "equal values are taken in the same order"


def test_variation_is_spread_over_mean() -> None:
    assert variation(np.array([1.0, 3.0])) == 0.5
    assert variation(10 * np.array([1.0, 3.0])) == 0.5
    assert variation(np.zeros(4)) == 0
    assert variation(np.array([-1.0, -3.0])) == 0


def test_intervals_hold_the_value_and_shrink_with_n() -> None:
    def width(n: int) -> float:
        rng = np.random.default_rng(1)
        a = rng.normal(size=n)
        found = bootstrapped(rank_correlation, a, a + rng.normal(size=n), rng=np.random.default_rng(2))
        assert found.low <= found.value <= found.high
        assert found.above_zero
        return found.high - found.low

    assert width(400) < 0.6 * width(50)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Correlation 0: 95 % of intervals should hold 0."""
    held = 0
    for trial in range(30):
        rng = np.random.default_rng([9, trial])
        a, b = rng.normal(size=40), rng.normal(size=40)
        found = bootstrapped(rank_correlation, a, b, rng=rng)
        held += found.holds_zero
    assert held >= 25


def test_students_interval_by_hand() -> None:
    found = mean_interval([1.0, 2.0, 3.0, 4.0])
    # s = 1.29099, t(0.975, 3) = 3.18245: reach 2.05426
    assert (found.value, found.low, found.high) == pytest.approx((2.5, 0.44574, 4.55426), abs=1e-4)
    with pytest.raises(UsageError, match="two values"):
        mean_interval([1.0])


def test_a_good_surrogate_is_told_from_a_useless_and_a_harmful_one() -> None:
    rng = np.random.default_rng(3)
    losses = rng.exponential(size=200)

    def told(scores: np.ndarray) -> tuple[Suitability, str]:
        found = suitability(scores, losses, scored(rng, 300), budget=30)
        return found, " ".join(findings(found, surrogate="A", deployment="B"))

    good, says = told(losses + 0.3 * rng.normal(size=200))
    assert good.evidence
    assert "does not know yet" in says
    useless, says = told(rng.normal(size=200))
    assert not useless.evidence
    assert "no evidence that A beats random" in says
    harmful, says = told(-losses)
    assert not harmful.evidence
    assert "random labels are the better choice" in says


def test_the_capacity_gate_warns() -> None:
    rng = np.random.default_rng(4)
    losses = rng.random(40)

    def said(fit: float) -> str:
        found = suitability(losses, losses, scored(rng, 40), budget=5, fit=fit)
        return " ".join(findings(found, surrogate="A", deployment="B"))

    assert "warning: B reaches 94.0%" in said(0.94)
    assert "warning" not in said(0.95)


def test_the_same_samples_give_the_same_figures() -> None:
    rng = np.random.default_rng(5)
    losses, pool = rng.random(50), scored(rng, 80)
    made = [suitability(losses, losses, pool, budget=8, seed=1, pilots=[(0.5, 0.4), (0.6, 0.5)]) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].pilot is not None
    assert made[0].pilot.value == pytest.approx(0.1)
    assert made[0].overlap_by_chance == 0.1
    assert suitability(losses, losses, pool, budget=8, pilots=[(0.5, 0.4)]).pilot is None


@pytest.mark.parametrize(("m", "n", "budget"), [(2, 10, 1), (10, 2, 1), (10, 10, 0), (10, 10, 11)])
def test_too_little_is_refused(m: int, n: int, budget: int) -> None:
    rng = np.random.default_rng(6)
    with pytest.raises(UsageError):
        suitability(rng.random(m), rng.random(m), scored(rng, n), budget=budget)
    with pytest.raises(UsageError, match="same samples"):
        suitability(rng.random(9), rng.random(8), scored(rng, 9), budget=1)
