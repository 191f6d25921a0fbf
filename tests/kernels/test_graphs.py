"""A graph in compressed rows is the matrix of its edges."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.kernels.graphs import Graph, edges_where, joined


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
