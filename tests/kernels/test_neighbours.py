"""Neighbours in blocks against double loops in double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import foresift.core.matrices as matrices
from foresift.core.matrices import RowMatrix
from foresift.kernels import neighbours
from foresift.kernels.neighbours import (
    SquaredDistance,
    Within,
    distance_to_another_group,
    radius_graph,
)
from foresift.kernels.similarities import ComputedSimilarity, Prepared

Array = npt.NDArray[np.floating]


@pytest.fixture(params=["in memory", "by blocks"], autouse=True)
def _small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "REFERENCES", 7)
    monkeypatch.setattr(neighbours, "CANDIDATES", 5)
    if request.param == "by blocks":
        monkeypatch.setattr(matrices, "IN_MEMORY_BYTES", 0)


def grid(n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Points with many equal distances, whose mean is 0, so that all arithmetic is exact."""
    half = np.random.default_rng(seed).integers(-2, 3, size=(n // 2, 2))
    return np.concatenate([half, -half]).astype(np.float32)


def squares(rows: Array) -> Array:
    x = rows.astype(np.float64)
    return ((x[:, None] - x) ** 2).sum(axis=2)


def within(rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32], radius: float) -> ComputedSimilarity:
    kernel = Within(SquaredDistance.around(RowMatrix(array=rows)), radius)
    made = [Prepared.of(RowMatrix(array=array), kernel) for array in (rows, others)]
    return ComputedSimilarity(candidates=made[0], references=made[1])


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.0, 1e200, np.inf])
def test_the_radius_graph_is_closed_and_holds_copies(radius: float) -> None:
    rows = grid(30)
    graph = radius_graph(within(rows, rows[:18], radius), max_edges=1000)
    assert graph is not None
    expected = squares(rows)[:, :18] <= radius**2 if radius < 1e100 else np.ones((30, 18), dtype=np.bool_)
    for row in range(30):
        assert graph.targets_of(row).tolist() == np.flatnonzero(expected[row]).tolist()


def test_a_graph_with_too_many_edges_is_none() -> None:
    rows = grid(30)
    edges = int((squares(rows) <= 1).sum())
    assert radius_graph(within(rows, rows, 1), max_edges=edges) is not None
    assert radius_graph(within(rows, rows, 1), max_edges=edges - 1) is None


def test_distance_to_another_group() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    groups = np.random.default_rng(2).integers(0, 3, 40)
    some = np.array([39, 0, 7, 8, 9, 10, 11])
    exact = np.sqrt(squares(rows))
    expected = [exact[row][groups != groups[row]].min() for row in some]
    np.testing.assert_allclose(distance_to_another_group(RowMatrix(array=rows), groups, some), expected, rtol=1e-5)
    one = distance_to_another_group(RowMatrix(array=rows), np.zeros(40, dtype=np.intp), some)
    assert np.isinf(one).all()
