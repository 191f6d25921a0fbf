"""Distances by matrix products agree with sums of squared differences in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels.distances import UnitRows, centred, mean_row, nearest, squared_distances, squared_norms


def slow(rows: npt.NDArray[np.floating], centres: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    a, b = rows.astype(np.float64), centres.astype(np.float64)
    return np.array([[((x - c) ** 2).sum() for c in b] for x in a]).reshape(len(a), len(b))


def points(seed: int, n: int, d: int, *, offset: float = 0.0) -> npt.NDArray[np.float32]:
    return (offset + np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32)


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 12), st.integers(1, 40))
def test_distances_are_sums_of_squared_differences(seed: int, b: int, m: int, d: int) -> None:
    rows, centres = points(seed, b, d), points(seed + 1, m, d)
    np.testing.assert_allclose(squared_distances(rows, centres), slow(rows, centres), rtol=1e-3)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4, 1e8])
def test_copies_are_at_distance_zero_wherever_they_lie(offset: float) -> None:
    rows = points(0, 40, 33, offset=offset)
    assert (np.diag(squared_distances(rows, rows.copy())) == 0).all()
    distances, which = nearest(RowMatrix(array=rows), rows[::-1].copy())
    assert (distances == 0).all()
    np.testing.assert_array_equal(rows[::-1][which], rows)


def test_an_offset_costs_no_precision() -> None:
    rows, centres = points(0, 30, 20, offset=1000.0), points(1, 7, 20, offset=1000.0)
    expected = slow(rows, centres)
    np.testing.assert_allclose(squared_distances(rows, centres), expected, rtol=1e-3)
    distances, which = nearest(RowMatrix(array=rows), centres)
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-4)
    np.testing.assert_array_equal(which, expected.argmin(axis=1))


def test_near_copies_keep_their_small_distance() -> None:
    rows = points(0, 10, 50, offset=3.0)
    moved = rows.copy()
    moved[:, 7] += np.float32(1e-3)
    distances, which = nearest(RowMatrix(array=moved), rows)
    np.testing.assert_allclose(distances, np.diag(slow(moved, rows)), rtol=1e-3)
    np.testing.assert_array_equal(which, np.arange(10))


@pytest.mark.parametrize("m", [1, 3, 500])
def test_nearest_over_many_blocks(m: int) -> None:
    matrix, centres = RowMatrix(array=points(0, 1500, 5).astype(np.float16)), points(1, m, 5)
    distances, which = nearest(matrix, centres)
    expected = slow(matrix.whole(), centres)
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-3)
    np.testing.assert_allclose(expected[np.arange(1500), which], expected.min(axis=1), rtol=1e-3)


def test_nearest_of_equal_centres_is_the_first() -> None:
    centres = np.repeat(points(0, 2, 4), 3, axis=0)
    _, which = nearest(RowMatrix(array=centres), centres)
    assert which.tolist() == [0, 0, 0, 3, 3, 3]


@pytest.mark.parametrize("value", [0.0, 7.3])
def test_constant_rows_are_all_at_zero(value: float) -> None:
    rows = np.full((20, 300), value, dtype=np.float32)
    assert (squared_distances(rows, rows[:3]) == 0).all()
    assert (nearest(RowMatrix(array=rows), rows[:3])[0] == 0).all()


@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-3])
def test_the_nearest_of_close_centres_far_from_the_others_is_found(gap: float) -> None:
    rng = np.random.default_rng(0)
    groups = 30 * points(0, 8, 20)
    centres = (groups[:, None] + gap * rng.normal(size=(8, 5, 20))).reshape(40, 20).astype(np.float32)
    rows = (centres[rng.integers(0, 40, 600)] + gap / 2 * rng.normal(size=(600, 20))).astype(np.float32)
    distances, which = nearest(RowMatrix(array=rows), centres)
    expected = slow(rows, centres)
    best = expected.min(axis=1)
    np.testing.assert_allclose(expected[np.arange(600), which], best, rtol=1e-2)
    np.testing.assert_allclose(distances, best, rtol=1e-2)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_numbers_too_large_for_float32_squares_are_at_no_finite_distance() -> None:
    rows = np.float32([[1, 2], [3e38, -3e38], [5, 6]])
    distances, which = nearest(RowMatrix(array=rows), np.float32([[0, 0], [5, 6]]))
    assert which[[0, 2]].tolist() == [0, 1]
    assert distances[[0, 2]].tolist() == [5, 0]
    assert not np.isfinite(distances[1])


def test_nearest_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        nearest(RowMatrix(array=points(0, 3, 2)), points(0, 0, 2))
    distances, which = nearest(RowMatrix(array=points(0, 0, 2)), points(0, 3, 2))
    assert len(distances) == len(which) == 0


def test_mean_norms_and_centred_rows() -> None:
    array = points(0, 70, 9, offset=5.0).astype(np.float16)
    rows = np.arange(70)[::-3]
    matrix, exact = RowMatrix(array=array, rows=rows), array[rows].astype(np.float64)
    np.testing.assert_allclose(mean_row(matrix), exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(squared_norms(matrix), (exact**2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(centred(matrix, mean_row(matrix)), exact - exact.mean(axis=0), atol=1e-5)
    assert centred(matrix, mean_row(matrix)).dtype == np.float32


def test_the_mean_of_many_equal_rows_is_that_row() -> None:
    row = np.float32([0.1, 1e-7, 3e5])
    matrix = RowMatrix(array=np.broadcast_to(row, (300_000, 3)))
    np.testing.assert_allclose(mean_row(matrix), row.astype(np.float64), rtol=1e-10)
    assert mean_row(RowMatrix(array=np.empty((0, 3), dtype=np.float32))).tolist() == [0, 0, 0]


def test_unit_rows_have_length_one_however_they_are_read() -> None:
    array = points(0, 50, 12, offset=2.0)
    array[7], array[8] = 0, 4 * array[9]
    unit = UnitRows(array=array, rows=np.arange(50))
    whole, lengths = unit.whole(), np.linalg.norm(unit.whole(), axis=1)
    np.testing.assert_allclose(np.delete(lengths, 7), 1, rtol=1e-6)
    assert (whole[7] == 0).all()
    np.testing.assert_array_equal(whole[8], whole[9])
    some = np.array([9, 3, 30])
    for read in (unit.take(some), unit.subset(some).whole()):
        np.testing.assert_array_equal(read, whole[some])
