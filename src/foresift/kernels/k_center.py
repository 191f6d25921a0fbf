"""Greedy k-center: again and again the row that is farthest from all centres, exactly and lazily."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import IN_MEMORY_BYTES, RowMatrix
from foresift.kernels.distances import mean_row, squared_distances_from
from foresift.kernels.topk import top_k

PICKED = -1.0
"""Stands in place of the distance of a row that has been picked: below every distance."""


class FarthestFirst(NamedTuple):
    """Rows in the order in which they were picked, each with its distance at that time."""

    rows: Rows
    """(k,)"""
    distances: npt.NDArray[np.float64]
    """(k,) Euclidean distance to the nearest centre when the row was picked, never rising; infinite without centres."""


def k_center(
    matrix: RowMatrix, budget: int, *, centres: RowMatrix, first: int | None = None, ignored: int = 0
) -> FarthestFirst:
    """The row farthest from all centres, which becomes a centre, ``budget`` times; ties go to the lower row.

    Distances only fall as centres are added, so an old distance is an upper bound: rows wait in a
    heap by their bounds, and only the top one is compared with the centres it has not seen, until
    another comes before it. A row that is far behind is never looked at again. Picks are those of
    the plain algorithm, which compares all rows with each new centre, ties included: whatever the
    order of the work, what is compared are the same float64 sums of squared differences.

    Args:
        matrix: (n, d), finite.
        budget: k, within 0 .. n.
        centres: (m, d) the centres at the start.
        first: a row to be picked first, whatever its distance.
        ignored: so many rows, the farthest at the time of each pick, are passed over in favour of
            the next one; fewer where not enough rows would remain.
    Cost: at most n (m + k) distances, and a few hundredths of them where neighbours exist; n d
        numbers of memory, at most ``IN_MEMORY_BYTES``: beyond that the rows with the largest
        bounds are held, and others read when their turn comes.
    Source: Gonzalez 1985, with the lazy evaluation of Minoux 1978.
    """
    search = _Search(matrix, budget, centres=centres)
    if first is not None and budget:
        search.pick(first)
    size = rows_held(matrix, at_least=ignored + 1)
    while search.count < budget:
        search.pick_from_panel(size, ignored=ignored)
    return FarthestFirst(search.rows, np.sqrt(search.distances))


def central_row(matrix: RowMatrix) -> int:
    """The row nearest to the mean of all rows; the lower one of equally near. O(n d), one block of memory."""
    return int(np.argmin(squared_distances_from(matrix, mean_row(matrix))))


def rows_held(matrix: RowMatrix, *, at_least: int = 1) -> int:
    """How many rows to hold in memory at once: all if they fit, else half of what fits."""
    if 4 * len(matrix) * matrix.width <= IN_MEMORY_BYTES:
        return len(matrix)
    return min(len(matrix), max(at_least, IN_MEMORY_BYTES // 8 // matrix.width))


class _Search:
    """What is known so far: the picks, the centres, and a bound for every row."""

    def __init__(self, matrix: RowMatrix, budget: int, *, centres: RowMatrix) -> None:
        self.matrix = matrix
        self.rows = np.empty(budget, dtype=np.intp)
        self.distances = np.empty(budget)
        self.count = 0
        self.started_with = len(centres)
        self.centres = np.empty((len(centres) + budget, matrix.width), dtype=np.float32)
        _fill(self.centres, centres)
        self.upper = np.full(len(matrix), np.inf)
        self.seen = np.zeros(len(matrix), dtype=np.int64)

    @property
    def known(self) -> int:
        """How many centres there are now."""
        return self.started_with + self.count

    def pick(self, row: int) -> None:
        """Pick a row unseen."""
        self.centres[self.known] = self.matrix.take([row])[0]
        self.rows[self.count], self.distances[self.count] = row, np.inf
        self.upper[row] = PICKED
        self.count += 1

    def pick_from_panel(self, size: int, *, ignored: int) -> None:
        """Hold the ``size`` rows with the largest bounds, and pick until another row may be farther."""
        from foresift.kernels.k_center_loop import Panel, build_heap, pick_many

        which = np.sort(top_k(self.upper, size))
        upper, seen = self.upper[which], self.seen[which]
        panel = Panel(_held(self.matrix, which), upper, seen, np.flatnonzero(upper != PICKED))
        build_heap(panel)
        rows, distances = self.rows[self.count :], self.distances[self.count :]
        outside = len(self.upper) - self.count - len(panel.heap)
        done = pick_many(
            panel, len(panel.heap), self.centres, self.known, ignored, outside, self._bound(which), rows, distances
        )
        self.upper[which], self.seen[which] = upper, seen
        rows[:done] = which[rows[:done]]
        self.upper[rows[:done]] = PICKED
        self.count += done

    def _bound(self, which: Rows) -> tuple[float, int]:
        """The largest bound of the rows outside of a panel, and the row of the panel that its row lies before."""
        others = self.upper.copy()
        others[which] = PICKED
        row = int(np.argmax(others))
        return float(others[row]), int(np.searchsorted(which, row))


def _held(matrix: RowMatrix, which: Rows) -> npt.NDArray[np.float32]:
    """(p, d) the rows at ascending positions, in memory; the array itself where it is that already."""
    if len(which) < len(matrix):
        return matrix.take(which)
    if matrix.rows is None and np.may_share_memory(matrix.block(0, 1), matrix.array):
        return np.ascontiguousarray(matrix.whole())
    return _fill(np.empty((len(matrix), matrix.width), dtype=np.float32), matrix)


def _fill(room: npt.NDArray[np.float32], matrix: RowMatrix) -> npt.NDArray[np.float32]:
    """Write all rows into ``room``, block by block."""
    for start, stop, rows in matrix.blocks():
        room[start:stop] = rows
    return room
