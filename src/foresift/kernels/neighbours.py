"""Exact neighbours in embedding space, by blocks of distances: those within a radius, the nearest of another group.

Time is O(n^2 d): minutes for 100,000 rows. Memory is that of the answer and one block, never n x n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.kernels.distances import mean_row, squared_distances
from foresift.kernels.graphs import Graph, edges_where, joined
from foresift.kernels.greedy import CANDIDATES
from foresift.kernels.similarities import REFERENCES, Block, ComputedSimilarity, Prepared

MAX_EDGES = 1 << 26
"""Edges of a graph that is held: 256 MiB of row numbers, and some 2 GiB while it is transposed."""


@dataclass(frozen=True, slots=True, eq=False)
class SquaredDistance:
    """Squared Euclidean distances of rows that are centred first."""

    centre: npt.NDArray[np.floating[Any]]
    """(d,)"""

    @classmethod
    def around(cls, matrix: RowMatrix) -> SquaredDistance:
        """With the mean of all rows as the centre."""
        return cls(mean_row(matrix))

    def prepare(self, rows: Block) -> Block:
        """(b, d) rows less the centre."""
        return rows - np.asarray(self.centre, dtype=np.float32)

    def __call__(self, a: Block, b: Block) -> Block:
        """(i, j) squared distances, exactly 0 between copies."""
        return squared_distances(a, b)


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """1 where two rows are at most a radius apart, else 0."""

    distance: SquaredDistance
    radius: float

    def prepare(self, rows: Block) -> Block:
        """(b, d) rows less the centre."""
        return self.distance.prepare(rows)

    def __call__(self, a: Block, b: Block) -> Block:
        """(i, j) ones and zeros; copies are within any radius."""
        return (self.distance(a, b) <= np.float32(min(self.radius, 1e19) ** 2)).astype(np.float32)


def radius_graph(similarity: ComputedSimilarity, *, max_edges: int) -> Graph | None:
    """Edges from candidates to the references with a similarity above 0; None if there are more than ``max_edges``.

    Args:
        similarity: with the kernel :class:`Within`, n candidates and r references.
    Cost: O(n r d) time, 4 bytes an edge.
    """
    parts, edges = list[Graph](), 0
    for _, _, features in similarity.candidates.blocks(CANDIDATES):
        blocks = [similarity.candidates.kernel(features, o) > 0 for _, _, o in similarity.references.blocks(REFERENCES)]
        parts.append(edges_where(np.hstack(blocks)))
        edges += len(parts[-1].targets)
        if edges > max_edges:
            return None
    return joined(parts)


def distance_to_another_group(matrix: RowMatrix, groups: npt.NDArray[np.integer[Any]], rows: Rows) -> Block:
    """(m,) distance from each of the given rows to the nearest row of another group; infinite with one group.

    Args:
        matrix: (n, d), finite.
        groups: (n,) the group of every row.
        rows: (m,) positions in the matrix.
    Cost: O(m n d) time, O(m) memory beside one float32 copy of the rows where that fits.
    """
    every = Prepared.of(matrix, SquaredDistance.around(matrix))
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    for at in range(0, len(rows), CANDIDATES):
        some = rows[at : at + CANDIDATES]
        features = every.take(some)
        for start, stop, others in every.blocks(REFERENCES):
            squares = every.kernel(features, others)
            squares[groups[some][:, None] == groups[start:stop]] = np.inf
            np.minimum(nearest[at : at + CANDIDATES], squares.min(axis=1), out=nearest[at : at + CANDIDATES])
    return np.sqrt(nearest)
