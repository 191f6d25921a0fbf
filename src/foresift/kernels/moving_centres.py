"""The nearest of k centres to every row, while the centres move: most distances need not be computed again."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.kernels.blocks import row_blocks
from foresift.kernels.distances import nearest, squared_distances

HELD_BOUNDS = 1 << 27
"""Bounds (n k) that are held at most: half a GiB."""
WORTH_COMPILED = 1 << 29
"""Products (n k d) below which loading compiled loops takes longer than a few passes of matrix products."""
ROUNDING = np.float32(1e-3)
"""By how much of itself a distance from a matrix product may be too large; see ``distances.SMALL``."""
MOSTLY = 0.95
"""Where more than this share of the centres moved, all rows are compared with all of them."""
Floats = npt.NDArray[np.float32]


class MovingCentres(Protocol):
    """Rows, and which of k centres is nearest to each now."""

    centres: Floats
    """(k, d)"""
    distances: Floats
    """(n,) squared distance of every row to the nearest centre."""
    assignment: Rows
    """(n,) which that is, the first of equally near ones."""

    def move(self, centres: Floats) -> None:
        """Put the centres elsewhere, (k, d), and bring the other two up to date."""
        ...


def moving_centres(matrix: RowMatrix, centres: Floats) -> MovingCentres:
    """By bounds, where these fit memory and the work is worth compiled loops; else by what moved.

    Args:
        matrix: (n, d), centres: (k, d), at least one.
    """
    bounds = len(matrix) * len(centres)
    if bounds <= HELD_BOUNDS and bounds * matrix.width >= WORTH_COMPILED:
        return ByBounds(matrix, centres)
    return ByMoves(matrix, centres)


class ByBounds:
    """A lower bound of every row's distance to every centre falls by as much as the centre moves.

    A centre whose bound is above the distance to a row's own one can't be nearer and is not looked at.

    Cost: one matrix product at first; then O(n k) for the bounds and O(d) for each pair looked at; (n, k) float32.
    Source: Elkan 2003, without the distances between centres.
    """

    def __init__(self, matrix: RowMatrix, centres: Floats) -> None:
        self._matrix, self.centres = matrix, centres
        self._bounds = np.empty((len(matrix), len(centres)), dtype=np.float32)
        self.distances = np.empty(len(matrix), dtype=np.float32)
        self.assignment = np.empty(len(matrix), dtype=np.intp)
        origin = centres.mean(axis=0, dtype=np.float64).astype(np.float32)
        for start, _, rows in matrix.blocks():
            for low, high in row_blocks(len(rows), width=len(centres)):
                self._measure(slice(start + low, start + high), rows[low:high] - origin, centres - origin)

    def move(self, centres: Floats) -> None:
        """See :class:`MovingCentres`."""
        from foresift.kernels.kmeans_loop import narrow

        moves = np.sqrt(np.square(centres.astype(np.float64) - self.centres).sum(axis=1))
        shifts = np.nextafter(moves.astype(np.float32), np.float32(np.inf))
        self.centres = np.ascontiguousarray(centres)
        for start, stop, rows in self._matrix.blocks():
            part = slice(start, stop)
            held = self._bounds[part], self.distances[part], self.assignment[part]
            narrow(np.ascontiguousarray(rows), self.centres, shifts, *held)

    def _measure(self, part: slice, rows: Floats, centres: Floats) -> None:
        squared = squared_distances(rows, centres)
        which = squared.argmin(axis=1)
        self.assignment[part], self.distances[part] = which, squared[np.arange(len(rows)), which]
        np.sqrt(squared, out=self._bounds[part])
        self._bounds[part] *= 1 - ROUNDING


class ByMoves:
    """A row whose own centre came no farther away can only have lost it to one that moved; the others ask all.

    Cost: a matrix product of the rows and the centres in question, a block of memory.
    """

    def __init__(self, matrix: RowMatrix, centres: Floats) -> None:
        self._matrix, self.centres = matrix, centres
        self.distances, self.assignment = nearest(matrix, centres)

    def move(self, centres: Floats) -> None:
        """See :class:`MovingCentres`."""
        has_moved = (self.centres != centres).any(axis=1)
        self.centres = centres
        if has_moved.sum() > MOSTLY * len(centres):
            self.distances, self.assignment = nearest(self._matrix, centres)
        else:
            self._compare(np.flatnonzero(has_moved), np.flatnonzero(has_moved[self.assignment]))

    def _compare(self, moved: Rows, own: Rows) -> None:
        """``moved``: centres; ``own``: the rows that were nearest to one of them."""
        centres, now, which = self.centres, self.distances.copy(), self.assignment.copy()
        now[own] = _distances_to(self._matrix.subset(own), centres[which[own]])
        stay, leave = np.flatnonzero(now <= self.distances), np.flatnonzero(now > self.distances)
        if len(moved) and len(stay):
            near, closest = nearest(self._matrix.subset(stay), centres[moved])
            better = (near < now[stay]) | ((near == now[stay]) & (moved[closest] < which[stay]))
            now[stay[better]], which[stay[better]] = near[better], moved[closest[better]]
        if len(leave):
            now[leave], which[leave] = nearest(self._matrix.subset(leave), centres)
        self.distances, self.assignment = now, which


def _distances_to(matrix: RowMatrix, points: Floats) -> Floats:
    """(n,) squared distance of every row to the point of the same number, (n, d)."""
    distances = np.empty(len(matrix), dtype=np.float32)
    for start, stop, rows in matrix.blocks():
        gaps = rows - points[start:stop]
        distances[start:stop] = np.einsum("ij,ij->i", gaps, gaps)
    return distances
