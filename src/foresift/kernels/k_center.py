"""Greedy k-center: again and again the row that is farthest from all centres, exactly and lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import IN_MEMORY_BYTES, RowMatrix
from foresift.kernels.blocks import BLOCK_ELEMENTS
from foresift.kernels.distances import mean_row, squared_distances_from
from foresift.kernels.topk import top_k

if TYPE_CHECKING:
    from foresift.kernels.k_center_loop import Panel

LOOK_AHEAD, MOST_AT_ONCE = 8, 64
"""Rows are brought up to date after an eighth as many picks as there are centres, and after 64 at the latest."""
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
    another comes before it. A row that is far behind is never looked at again. Every few picks the
    rows near the top are compared with the new centres in one matrix product. Picks are those of
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


def bring_up_to_date(panel: Panel, which: Rows, centres: npt.NDArray[np.float32]) -> None:
    """Compare rows of a panel with all centres that they have not seen: by matrix products, exactly where it matters.

    A product in float32 tells, by its error bound, which pairs can't be nearer than what is known already;
    the distances of all others are summed up in float64.

    Args:
        which: rows of the panel, whose ``upper`` and ``seen`` are written.
        centres: (known, d).
    Cost: one matrix product of O(len(which) d) for each centre not seen.
    """
    from foresift.kernels.k_center_loop import settle

    stale = which[panel.seen[which] < len(centres)]
    stale = stale[np.argsort(panel.seen[stale], kind="stable")]
    slack = 4 * (centres.shape[1] + 8) * 2.0**-24
    while len(stale):
        fresh = centres[panel.seen[stale[0]] :]
        part = stale[: max(64, BLOCK_ELEMENTS // max(len(fresh), centres.shape[1]))]
        origin = fresh.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows, others = panel.rows[part] - origin, fresh - origin
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is summed up in float64
            norms, other_norms = np.einsum("ij,ij->i", rows, rows), np.einsum("ij,ij->i", others, others)
            products = rows @ others.T
        settle(panel, part, fresh, products, norms, other_norms, slack)
        panel.seen[part] = len(centres)
        stale = stale[len(part) :]


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
        from foresift.kernels.k_center_loop import Panel

        which = np.sort(top_k(self.upper, size))
        upper, seen = self.upper[which], self.seen[which]
        panel = Panel(_held(self.matrix, which), upper, seen, np.flatnonzero(upper != PICKED))
        outside, bound, before = len(self.upper) - self.count - len(panel.heap), self._bound(which), self.count
        wanted = done = 0
        while done == wanted and self.count < len(self.rows):
            panel = panel._replace(heap=panel.heap[: len(panel.heap) - done])
            wanted = min(max(1, min(self.known // LOOK_AHEAD, MOST_AT_ONCE)), len(self.rows) - self.count)
            done = self._pick_some(panel, wanted, ignored, outside, bound)
        self.upper[which], self.seen[which] = upper, seen
        self.rows[before : self.count] = which[self.rows[before : self.count]]
        self.upper[self.rows[before : self.count]] = PICKED

    def _pick_some(self, panel: Panel, wanted: int, ignored: int, outside: int, bound: tuple[float, int]) -> int:
        """Pick up to ``wanted`` rows of a panel, by their numbers in it, after one look at the rows that may matter."""
        from foresift.kernels.k_center_loop import build_heap, pick_many

        may_matter = panel.upper[panel.heap] >= self._expected(wanted)
        bring_up_to_date(panel, panel.heap[may_matter], self.centres[: self.known])
        build_heap(panel)
        now, then = self.count, self.count + wanted
        # so many of the rows outside are needed for the picks that follow these
        spare = outside - (len(self.rows) - then)
        rows, distances = self.rows[now:then], self.distances[now:then]
        done = pick_many(panel, len(panel.heap), self.centres, self.known, ignored, spare, bound, rows, distances)
        self.count += done
        return int(done)

    def _expected(self, wanted: int) -> float:
        """The squared distance that is about to be reached if it goes on falling as it did; only work depends on it."""
        past = self.distances[max(0, self.count - 1 - wanted) : self.count]
        if not len(past) or not np.isfinite(past).all():
            return 0.0
        return float(past[-1] - (past[0] - past[-1]))

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
