"""When the largest values stay: ranks against SciPy, and members that stop mattering."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.kernels.stability import Settled, rank_correlation, top_overlap


@given(st.integers(3, 40), st.integers(2, 9), st.integers(0, 99))
def test_rank_correlation_is_spearmans_with_ties(n: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(levels, size=n).astype(float) for _ in range(2))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert rank_correlation(first, second) == 1.0
        return
    expected = scipy.stats.spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)


def test_values_that_stay_are_settled_after_patience_and_not_before() -> None:
    values = np.random.default_rng(0).normal(size=50)
    settled = Settled(10, patience=2)
    assert [settled.add(values) for _ in range(4)] == [False, False, True, True]
    assert settled.members == 4


def test_one_restless_member_starts_the_count_again() -> None:
    rng = np.random.default_rng(0)
    values, others = rng.normal(size=50), rng.normal(size=50)
    settled = Settled(10, patience=2)
    assert [settled.add(v) for v in (values, values, others, values, values, values)] == [
        False, False, False, False, False, True,
    ]  # fmt: skip


def test_the_same_samples_in_another_order_are_not_settled() -> None:
    values = np.array([5.0, 4.0, 3.0, 2.0, 0.0, 0.0])
    turned = np.array([2.0, 3.0, 4.0, 5.0, 0.0, 0.0])
    settled = Settled(4, patience=1)
    settled.add(values)
    assert not settled.add(turned)
    assert top_overlap(np.array([0, 1]), np.array([1, 2])) == 0.5


def test_settings_out_of_range_are_refused() -> None:
    for bad in ({"k": 0}, {"k": 3, "patience": 0}, {"k": 3, "overlap": 0.0}, {"k": 3, "correlation": 1.1}):
        with pytest.raises(UsageError):
            Settled(**bad)


def test_every_comparison_can_be_read() -> None:
    values = np.array([5.0, 4.0, 3.0, 2.0, 0.0, 0.0])
    settled = Settled(2, patience=1)
    for now in (values, values, values[::-1]):
        settled.add(now)
    assert settled.figures[0] == (1.0, 1.0)
    assert settled.figures[1][0] == 0.0
    assert settled.figures[1][1] == pytest.approx(scipy.stats.spearmanr(*[[5, 4, 0, 0], [0, 0, 4, 5]]).statistic)


def test_samples_that_get_lost_start_the_count_again() -> None:
    values = np.random.default_rng(0).normal(size=50)
    settled = Settled(10, patience=1)
    assert [settled.add(v) for v in (values, values[:40], values[:40])] == [False, False, True]
    assert len(settled.figures) == 1
