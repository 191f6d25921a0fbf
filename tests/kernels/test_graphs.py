"""A graph in compressed rows is the matrix of its edges."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.kernels.graphs import Graph, beside, edges_where, joined


def of_matrix(matrix: np.ndarray) -> Graph:
    return edges_where(matrix != 0, matrix)


def to_matrix(graph: Graph) -> np.ndarray:
    matrix = np.zeros((len(graph), graph.n_targets))
    matrix[graph.sources(), graph.targets] = graph.weights
    return matrix


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 7), (4, 0), (0, 4)])
@pytest.mark.parametrize("density", [0.0, 0.4, 1.0])
def test_a_graph_is_its_matrix(shape: tuple[int, int], density: float) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.uniform(1, 2, size=shape).astype(np.float32) * (rng.uniform(size=shape) < density)
    graph = of_matrix(matrix)
    np.testing.assert_array_equal(to_matrix(graph), matrix)
    np.testing.assert_array_equal(to_matrix(graph.transposed()), matrix.T)
    for row in range(len(graph)):
        np.testing.assert_array_equal(graph.targets_of(row), np.flatnonzero(matrix[row]))
    some = np.arange(len(graph))[::-2]
    np.testing.assert_array_equal(
        graph.targets[graph.edges_of(some)],
        np.concatenate([np.empty(0), *(np.flatnonzero(matrix[row]) for row in some)]),
    )


def test_graphs_are_joined_row_below_row() -> None:
    matrix = np.random.default_rng(0).integers(0, 2, size=(9, 4))
    parts = joined([of_matrix(matrix[:2]), of_matrix(matrix[2:2]), of_matrix(matrix[2:])])
    np.testing.assert_array_equal(to_matrix(parts), matrix)


@pytest.mark.parametrize("weighted", [True, False])
def test_graphs_are_put_side_by_side(weighted: bool) -> None:
    matrix = np.random.default_rng(0).integers(0, 3, size=(9, 12))
    parts = [m if weighted else m > 0 for m in np.split(matrix, [5, 5, 6, 11], axis=1)]
    got = beside(of_matrix(m) if weighted else edges_where(m) for m in parts)
    assert got.n_targets == 12
    for row in range(9):
        at = slice(got.starts[row], got.starts[row + 1])
        np.testing.assert_array_equal(got.targets[at], np.flatnonzero(matrix[row]))
        np.testing.assert_array_equal(got.weights[at], matrix[row][matrix[row] > 0] if weighted else [])
    assert len(beside([of_matrix(np.zeros((0, 3))), of_matrix(np.zeros((0, 2)))])) == 0


@pytest.mark.parametrize("weighted", [True, False])
def test_only_some_edges_are_kept(weighted: bool) -> None:
    matrix = np.random.default_rng(0).integers(0, 4, size=(9, 7))
    graph = of_matrix(matrix) if weighted else edges_where(matrix > 0)
    keep = matrix[matrix > 0] > 1
    kept = graph.where(keep)
    for row in range(9):
        np.testing.assert_array_equal(kept.targets_of(row), np.flatnonzero(matrix[row] > 1))
    np.testing.assert_array_equal(kept.weights, matrix[matrix > 1] if weighted else [])
