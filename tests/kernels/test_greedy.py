"""Lazy and stochastic greedy against plain greedy, and against the best of all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_coverage import Dense, coverage, matrices, naive_greedy
from foresift.kernels.coverage import SLACK, Coverage
from foresift.kernels.greedy import lazy_greedy, stochastic_greedy, stochastic_loss


@settings(deadline=None)
@given(matrices, st.booleans())
def test_lazy_greedy_is_naive_greedy(matrix: npt.NDArray[np.float64], some_covered: bool) -> None:
    covered = matrix[-1].astype(np.float32) * np.float32(some_covered)
    expected = naive_greedy(matrix, len(matrix), covered.astype(np.float64))
    assert lazy_greedy(Coverage(Dense(matrix), covered), len(matrix)).rows.tolist() == expected


def test_lazy_greedy_is_naive_greedy_on_a_larger_pool_with_few_gains_asked() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3))
    matrix = np.exp(-((points[:, None] - points) ** 2).sum(axis=2))
    similarity = Dense(matrix)
    found = lazy_greedy(Coverage(similarity, np.zeros(300, dtype=np.float32)), 60)
    assert found.rows.tolist() == naive_greedy(matrix, 60, np.zeros(300))
    assert (np.diff(found.gains) <= 1e-9).all()
    assert similarity.asked < 300 + 60 * 60


@pytest.mark.parametrize("seed", range(5))
def test_ties_among_many_candidates_go_to_the_lower_row(seed: int) -> None:
    matrix = (np.random.default_rng(seed).uniform(size=(80, 60)) < 0.06).astype(np.float64)
    found = lazy_greedy(Coverage(Dense(matrix), np.zeros(60, dtype=np.float32)), 80)
    assert found.rows.tolist() == naive_greedy(matrix, 80, np.zeros(60))


@settings(deadline=None)
@given(matrices, st.integers(1, 4))
def test_greedy_reaches_its_share_of_the_optimum(matrix: npt.NDArray[np.float64], k: int) -> None:
    k = min(k, len(matrix))
    best = max(coverage(matrix, rows) for rows in combinations(range(len(matrix)), k))
    found = lazy_greedy(Coverage(Dense(matrix), np.zeros(matrix.shape[1], dtype=np.float32)), k)
    assert coverage(matrix, found.rows) >= (1 - 1 / np.e) * best - SLACK * matrix.size


def test_coverage_never_falls_with_the_budget_and_gains_add_up_to_it() -> None:
    matrix = np.random.default_rng(1).uniform(size=(40, 30))
    covered = np.zeros(30, dtype=np.float32)
    found = lazy_greedy(Coverage(Dense(matrix), covered), 40)
    reached = [coverage(matrix, found.rows[: k + 1]) for k in range(40)]
    assert (np.diff(reached) >= 0).all()
    np.testing.assert_allclose(np.cumsum(found.gains), reached, atol=40 * 30 * SLACK)
    np.testing.assert_allclose(covered, matrix.max(axis=0), rtol=1e-6)


def test_when_nothing_is_left_to_gain_rows_go_in_order() -> None:
    found = lazy_greedy(Coverage(Dense(np.ones((6, 4))), np.zeros(4, dtype=np.float32)), 6)
    assert found.rows.tolist() == list(range(6))
    assert found.gains[1:].tolist() == [0] * 5


def test_stochastic_greedy_that_sees_everything_is_greedy() -> None:
    matrix = np.random.default_rng(2).uniform(size=(30, 20))
    rng = np.random.default_rng(0)
    found = stochastic_greedy(Coverage(Dense(matrix), np.zeros(20, dtype=np.float32)), 12, sample=30, rng=rng)
    assert found.rows.tolist() == naive_greedy(matrix, 12, np.zeros(20))
    assert stochastic_loss(30, 12, sample=30) == 0


def test_stochastic_greedy_keeps_its_guarantee_on_average() -> None:
    rng = np.random.default_rng(3)
    matrix = (rng.uniform(size=(12, 40)) < 0.2).astype(np.float64)
    best = max(coverage(matrix, rows) for rows in combinations(range(12), 4))
    reached = []
    for seed in range(100):
        draws = np.random.default_rng(seed)
        found = stochastic_greedy(Coverage(Dense(matrix), np.zeros(40, dtype=np.float32)), 4, sample=4, rng=draws)
        assert len(set(found.rows.tolist())) == 4
        reached.append(coverage(matrix, found.rows))
    loss = stochastic_loss(12, 4, sample=4)
    assert loss == pytest.approx(np.exp(-4 / 3))
    assert np.mean(reached) >= (1 - 1 / np.e - loss) * best
