"""Centres that move, against all distances computed again in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.matrices import RowMatrix
from foresift.kernels import moving_centres as module
from foresift.kernels.kmeans import kmeans
from foresift.kernels.moving_centres import ByBounds, ByMoves, MovingCentres, moving_centres

KINDS = pytest.mark.parametrize("kind", [ByBounds, ByMoves])


def squared(rows: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    gaps = rows.astype(np.float64)[:, None] - centres.astype(np.float64)[None]
    return np.asarray((gaps**2).sum(axis=2))


def assert_nearest(now: MovingCentres, rows: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> None:
    """Every row is with a centre that is nearest but for rounding, and its distance is known."""
    expected = squared(rows, centres)
    own = expected[np.arange(len(rows)), now.assignment]
    room = 1e-5 * expected.min(axis=1) + 1e-10 * (1 + np.abs(rows).max()) ** 2
    assert (own <= expected.min(axis=1) + room).all()
    np.testing.assert_allclose(now.distances, own, rtol=1e-4, atol=float(room.max()))


@KINDS
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    k=st.integers(1, 12),
    d=st.sampled_from([1, 3, 17]),
    moves=st.lists(st.sampled_from([0.0, 1e-3, 0.1, 2.0]), max_size=5),
    kinds=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_after_any_moves_every_row_is_with_its_nearest_centre(
    kind: type[ByBounds | ByMoves], n: int, k: int, d: int, moves: list[float], kinds: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)).astype(np.float32)[rng.integers(0, min(kinds, n), size=n)]
    centres = rows[rng.integers(0, n, size=k)]
    now = kind(RowMatrix(array=rows), centres)
    assert_nearest(now, rows, centres)
    for size in moves:
        some = (rng.random((k, 1)) < 0.6).astype(np.float32)
        centres = centres + some * rng.normal(size=(k, d)).astype(np.float32) * np.float32(size)
        now.move(centres)
        assert_nearest(now, rows, centres)


@KINDS
@pytest.mark.parametrize("moved", [0, 1, 3, 11])
def test_where_nothing_is_close_the_assignment_is_the_very_one(kind: type[ByBounds | ByMoves], moved: int) -> None:
    rng = np.random.default_rng(moved)
    rows = rng.normal(size=(400, 6)).astype(np.float32)
    centres = rows[rng.permutation(400)[:12]]
    now = kind(RowMatrix(array=rows), centres)
    elsewhere = centres.copy()
    elsewhere[:moved] += rng.normal(size=(moved, 6)).astype(np.float32) * np.float32(0.3)
    now.move(elsewhere)
    np.testing.assert_array_equal(now.assignment, squared(rows, elsewhere).argmin(axis=1))


@KINDS
def test_the_first_of_equally_near_centres_is_taken(kind: type[ByBounds | ByMoves]) -> None:
    rows = np.eye(4, dtype=np.float32)
    centres = np.zeros((3, 4), dtype=np.float32)
    now = kind(RowMatrix(array=rows), centres)
    assert not now.assignment.any()
    now.move(np.array([[9, 9, 9, 9], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    assert (now.assignment == 1).all()


def test_small_work_and_bounds_that_would_not_fit_go_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = RowMatrix(array=np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    assert isinstance(moving_centres(rows, rows.take([0, 1])), ByMoves)
    monkeypatch.setattr(module, "WORTH_COMPILED", 1)
    assert isinstance(moving_centres(rows, rows.take([0, 1])), ByBounds)
    monkeypatch.setattr(module, "HELD_BOUNDS", 99)
    assert isinstance(moving_centres(rows, rows.take([0, 1])), ByMoves)


def test_k_means_is_the_same_with_bounds_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    X = RowMatrix(array=(rng.normal(size=(600, 8)) + 3 * rng.normal(size=(30, 8))[rng.integers(0, 30, 600)]))
    without = kmeans(X, 30, np.random.default_rng(1))
    monkeypatch.setattr(module, "WORTH_COMPILED", 1)
    with_bounds = kmeans(X, 30, np.random.default_rng(1))
    np.testing.assert_array_equal(with_bounds.assignment, without.assignment)
    assert with_bounds.inertia == pytest.approx(without.inertia, rel=1e-5)
