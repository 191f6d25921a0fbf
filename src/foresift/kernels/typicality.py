"""How densely a row's neighbours lie around it: the mean distance to the nearest of its own group."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.kernels.blocks import row_blocks
from foresift.kernels.distances import mean_row, squared_distances

FEW = 64
"""Among so few rows distances come from differences, so that the two rows of a pair tie to the last bit."""
Floats = npt.NDArray[np.float32]


def mean_neighbour_distance(matrix: RowMatrix, neighbours: int, among: Rows) -> Floats:
    """(n,) mean Euclidean distance of every row to the nearest of some of the rows, itself left out.

    Args:
        matrix: (n, d)
        neighbours: how many of the nearest count, 0 or more; with 0 every mean is 0.
        among: (s,) ascending rows in which neighbours are looked for, more of them than ``neighbours``.
    Cost: O(n s d) time, one block of memory and 4 s d bytes.
    """
    means = np.zeros(len(matrix), dtype=np.float32)
    if not neighbours:
        return means
    origin = mean_row(matrix).astype(np.float32)
    others = matrix.take(among) - origin
    squared = _symmetric if len(among) <= FEW else squared_distances
    for start, _, rows in matrix.blocks():
        for low, high in row_blocks(len(rows), width=len(among)):
            distances = squared(rows[low:high] - origin, others)
            _leave_out_itself(distances, start + low, among)
            nearest = np.partition(distances, neighbours - 1, axis=1)[:, :neighbours]
            means[start + low : start + high] = np.sqrt(nearest).mean(axis=1)
    return means


def _symmetric(rows: Floats, others: Floats) -> Floats:
    differences = rows[:, None] - others
    return np.asarray(np.einsum("ijk,ijk->ij", differences, differences))


def _leave_out_itself(distances: Floats, start: int, among: Rows) -> None:
    first, last = np.searchsorted(among, [start, start + len(distances)])
    distances[among[first:last] - start, np.arange(first, last)] = np.inf
