"""Lazy greedy k-center picks what the plain algorithm picks, bit for bit, and keeps Gonzalez's promise."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.matrices import RowMatrix
from foresift.kernels import k_center as module
from foresift.kernels.k_center import central_row, k_center
from foresift.kernels.k_center_loop import squared_distance

Array = npt.NDArray[Any]


def matrix(array: Array) -> RowMatrix:
    return RowMatrix(array=np.asarray(array, dtype=np.float32))


def none(width: int) -> RowMatrix:
    return matrix(np.empty((0, width)))


def plain(rows: Array, budget: int, centres: Array, *, first: int | None = None, ignored: int = 0) -> tuple[Any, Any]:
    """The incremental algorithm: all rows are compared with every new centre, in float64."""
    x, picked, at = rows.astype(np.float64), [], []
    nearest = np.full(len(x), np.inf)
    for centre in centres.astype(np.float64):
        nearest = np.minimum(nearest, ((x - centre) ** 2).sum(axis=1))
    for count in range(budget):
        order = sorted((-nearest[row], row) for row in range(len(x)) if row not in picked)
        row = order[min(ignored, len(order) - (budget - count))][1]
        if first is not None and not count:
            row, nearest[first] = first, np.inf
        picked.append(row)
        at.append(np.sqrt(nearest[row]))
        nearest = np.minimum(nearest, ((x - x[row]) ** 2).sum(axis=1))
    return picked, at


grids = st.sampled_from([0, 1, 3, 30, 1000])
"""Whole coordinates up to so much: sums of squares are exact, so that ties are ties in any order of summation."""


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 9), st.integers(0, 5), grids, st.data())
def test_picks_and_distances_are_those_of_the_plain_algorithm(
    seed: int, n: int, d: int, m: int, size: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    rows, centres = (rng.integers(-size, size + 1, (count, d)).astype(np.float32) for count in (n, m))
    budget = data.draw(st.integers(0, n))
    ignored = data.draw(st.sampled_from([0, 0, 1, 3, 50]))
    first = data.draw(st.sampled_from([None, int(rng.integers(n))]))
    held = data.draw(st.sampled_from([n, 1 + n // 2, 4]))
    expected = plain(rows, budget, centres, first=first, ignored=ignored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "rows_held", lambda _, at_least: min(n, max(held, at_least)))
        picks = k_center(matrix(rows), budget, centres=matrix(centres), first=first, ignored=ignored)
    assert (picks.rows.tolist(), picks.distances.tolist()) == expected


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e-22, 1e-23, 1e18, 1e30])
@pytest.mark.parametrize("d", [3, 130, 700])
def test_real_numbers_of_any_size_with_an_offset(d: int, scale: float) -> None:
    rng = np.random.default_rng(d)
    rows = ((rng.normal(size=(300, d)) + 5) * scale).astype(np.float32)
    rows[100:110] = rows[:10]
    picks = k_center(matrix(rows), 120, centres=matrix(rows[:7]))
    expected, at = plain(rows, 120, rows[:7])
    assert picks.rows.tolist() == expected
    np.testing.assert_allclose(picks.distances, at, rtol=1e-12)


def test_many_rows_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    array = np.round(rng.normal(size=(3000, 16)), 2).astype(np.float16)
    chosen = np.flatnonzero(rng.random(3000) < 0.9)
    pool, labeled = RowMatrix(array=array, rows=chosen), RowMatrix(array=array, rows=np.arange(20) * 9)
    whole = k_center(pool, 200, centres=labeled)
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 4 * 16 * 1000)
    assert module.rows_held(pool) == 500
    parts = k_center(pool, 200, centres=labeled)
    assert parts.rows.tolist() == whole.rows.tolist() == plain(pool.whole(), 200, labeled.whole())[0]
    np.testing.assert_array_equal(parts.distances, whole.distances)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 10), st.integers(0, 2), st.data())
def test_radius_is_at_most_twice_the_best_of_all_subsets(seed: int, n: int, m: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    rows, centres = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    budget = data.draw(st.integers(1, n))
    first = None if m else int(rng.integers(n))
    picks = k_center(matrix(rows), budget, centres=matrix(centres), first=first).rows
    best = min(radius(rows, np.vstack([centres, rows[list(chosen)]])) for chosen in combinations(range(n), budget))
    assert radius(rows, np.vstack([centres, rows[picks]])) <= 2 * best + 1e-5


def radius(rows: Array, centres: Array) -> float:
    gaps = np.linalg.norm(rows[:, None] - centres[None], axis=2)
    return float(gaps.min(axis=1).max())


def test_distances_never_rise_and_the_next_one_is_the_covering_radius() -> None:
    rows = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    picks = k_center(matrix(rows), 200, centres=none(5), first=central_row(matrix(rows)))
    assert picks.distances[0] == np.inf
    assert (np.diff(picks.distances) <= 0).all()
    for budget in (1, 10, 150):
        assert radius(rows, rows[picks.rows[:budget]]) == pytest.approx(picks.distances[budget], rel=1e-5)


def test_moving_and_turning_the_data_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(400, 6))
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    moved = rows @ turn + 10 * rng.normal(size=6)
    first = central_row(matrix(rows))
    assert central_row(matrix(moved)) == first
    picked = [k_center(matrix(x), 60, centres=none(6), first=first).rows.tolist() for x in (rows, moved)]
    assert picked[0] == picked[1]


def test_a_copy_of_a_centre_is_picked_last() -> None:
    rows = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    picks = k_center(matrix(rows), 30, centres=matrix(rows[[17]]))
    assert picks.rows[-1] == 17
    assert picks.distances[-1] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 0), (9, 3)])
def test_rows_that_are_all_alike_come_in_order(shape: tuple[int, int]) -> None:
    rows = matrix(np.full(shape, 3.7))
    picks = k_center(rows, shape[0], centres=none(shape[1]))
    assert picks.rows.tolist() == list(range(shape[0]))
    assert central_row(rows) == 0


def test_a_prefix_of_a_larger_budget() -> None:
    rows = matrix(np.random.default_rng(4).normal(size=(500, 8)))
    long, short = (k_center(rows, budget, centres=none(8), first=5).rows.tolist() for budget in (100, 33))
    assert long[:33] == short


def test_the_distance_of_a_pair_is_summed_in_float64() -> None:
    rng = np.random.default_rng(5)
    for d in range(1, 30):
        x, y = (1e4 + rng.normal(size=(2, d))).astype(np.float32)
        expected = sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))
        assert squared_distance(x, y) == pytest.approx(expected, rel=1e-14)
