"""Greedy maximum of the determinant against the definition: the largest determinant at every step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpp_brute import Array
from foresift.core.arrays import Rows
from foresift.kernels.dpp_map import ExplainedFeatures, ExplainedKernel, Greedy, greedy_map


def slow_greedy(kernel: Array, k: int) -> list[int]:
    """At every step the row with the largest determinant."""
    picks: list[int] = []
    for _ in range(k):
        rest = [j for j in range(len(kernel)) if j not in picks]
        picks.append(max(rest, key=lambda j: (np.linalg.det(kernel[np.ix_([*picks, j], [*picks, j])]), -j)))
    return picks


def by_features(features: Array, k: int) -> Greedy:
    explained = ExplainedFeatures(lambda which: features[which], k, features.shape[1])
    return greedy_map((features**2).sum(axis=1), explained, k)


def by_kernel(kernel: Array, k: int) -> Greedy:
    def entries(which: Rows, others: Rows) -> Array:
        return np.asarray(kernel[np.ix_(which, others)])

    return greedy_map(np.diag(kernel), ExplainedKernel(entries, len(kernel), k), k)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 25), seed=st.integers(0, 2**32))
def test_lazy_greedy_is_greedy(n: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(n, 30))
    k = min(n, 8)
    expected = slow_greedy(features @ features.T, k)
    for found in (by_features(features, k), by_kernel(features @ features.T, k)):
        assert found.rows.tolist() == expected
        assert (np.diff(found.gains) <= 1e-9).all()
        chosen = features[found.rows] @ features[found.rows].T
        assert np.log(found.gains).sum() == pytest.approx(np.linalg.slogdet(chosen)[1], abs=1e-6)


def test_old_residuals_save_work_and_change_no_pick() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3000, 40)) * rng.lognormal(size=(3000, 1))
    found = by_features(features, 30)
    assert found.refreshed < 0.3 * 3000 * 30
    residual, expected = (features**2).sum(axis=1), []
    left = features.copy()
    for _ in range(30):
        best = int(np.argmax(residual))
        expected.append(best)
        direction = left[best] / np.linalg.norm(left[best])
        left -= np.outer(left @ direction, direction)
        residual = (left**2).sum(axis=1)
    assert found.rows.tolist() == expected


def test_ends_where_the_rank_is_exhausted() -> None:
    features = np.random.default_rng(1).normal(size=(50, 6))
    for found in (by_features(features, 20), by_kernel(features @ features.T, 20)):
        assert len(found.rows) == len(found.gains) == 6
    copies = np.repeat(features[:4], 10, axis=0)
    assert sorted(by_features(copies, 12).rows // 10) == [0, 1, 2, 3]
    assert len(by_features(np.zeros((5, 3)), 4).rows) == 0


def test_equal_residuals_go_to_the_lower_row() -> None:
    assert by_features(np.eye(9), 9).rows.tolist() == list(range(9))
    assert by_kernel(np.eye(9), 9).rows.tolist() == list(range(9))
