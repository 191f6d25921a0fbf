"""Covers found by integer programming are as good as the best of all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.kernels import cover as module
from foresift.kernels.cover import Limits, Problem, cover_within, greedy_cover, radius_of, smallest_cover

LIMITS = Limits(nodes=1000, time_s=60.0)


def problem(seed: int, n: int, m: int, budget: int, outliers: int, *, grid: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (n + m, 2)).astype(float) if grid else rng.normal(size=(n + m, 2))
    between = np.linalg.norm(points[:n, None] - points[None], axis=2)
    return Problem(between[:, :n], between[:, n:].min(axis=1, initial=np.inf), budget, outliers)


def slow_radius(given: Problem, rows: tuple[int, ...]) -> float:
    nearest = sorted(
        min([base, *(between[row] for row in rows)]) for base, between in zip(given.base, given.between, strict=True)
    )
    return float(nearest[len(nearest) - 1 - given.outliers])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 9), st.integers(0, 2), st.integers(0, 2), st.booleans(), st.data())
def test_the_radius_is_that_of_the_best_subset(
    seed: int, n: int, m: int, outliers: int, grid: bool, data: st.DataObject
) -> None:
    given_ = problem(seed, n, m, data.draw(st.integers(1, n)), min(outliers, n - 1), grid=grid)
    best = min(slow_radius(given_, rows) for rows in combinations(range(n), given_.budget))
    start = np.arange(given_.budget) if given_.outliers else _greedy(given_)
    found = smallest_cover(given_, start, limits=LIMITS)
    assert len(found.rows) <= given_.budget
    assert found.radius == slow_radius(given_, tuple(found.rows)) == best
    assert (found.lower, found.unproven) == (best, 0)


def _greedy(given_: Problem) -> np.ndarray:
    nearest, rows = given_.base, []
    for _ in range(given_.budget):
        rows.append(int(np.where(np.isin(np.arange(len(nearest)), rows), -1, nearest).argmax()))
        nearest = np.minimum(nearest, given_.between[:, rows[-1]])
    return np.array(rows)


def test_greedy_cover_alone_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    near = np.zeros((6, 5), dtype=bool)
    near[[0, 1, 2], 0] = near[[3, 4, 5], 1] = near[[0, 1, 3, 4], 2] = True  # greedy takes the third and needs three
    assert greedy_cover(near, budget=2, outliers=0) is None
    assert greedy_cover(near, budget=1, outliers=2) is not None
    square = np.where(near[:, :5], 1.0, 2.0)
    given_ = Problem(square, np.full(6, np.inf), 2)
    rows, sure = cover_within(given_, 1.0, limits=LIMITS)
    assert sure
    assert rows is not None
    assert rows.tolist() == [0, 1]


def test_a_limit_is_told_and_the_best_so_far_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given_ = problem(1, 12, 0, 3, 0)
    start = _greedy(given_)
    monkeypatch.setattr(module, "cover_within", lambda *_, limits: (None, False))
    found = smallest_cover(given_, start, limits=LIMITS)
    assert found.rows.tolist() == start.tolist()
    assert found.unproven > 0
    assert radius_of(given_, start) / 2 <= found.lower < found.radius == radius_of(given_, start)


def test_a_time_limit_gives_no_false_answer() -> None:
    given_ = problem(2, 80, 0, 12, 0)
    rows, sure = cover_within(given_, radius_of(given_, _greedy(given_)) * 0.7, limits=Limits(nodes=1, time_s=1e-3))
    assert rows is None or radius_of(given_, rows) <= radius_of(given_, _greedy(given_)) * 0.7
    assert sure or rows is None
