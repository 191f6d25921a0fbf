"""The inner loop of lazy greedy k-center, in machine code. Import it only where it runs.

Two kinds of distance: a float32 sum in any order, whose relative error is at most (d + 3) / 2^24,
only says which pairs need not be looked at; every comparison that decides is between float64 sums
of squared differences, added in one fixed order on every processor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.kernels.compiled import compiled, compiled_in_any_order

CHUNK = 128
"""Numbers of a row between two looks at whether the sum has passed the limit."""


class Panel(NamedTuple):
    """Rows held in memory, and a heap of those not picked: largest upper bound first, then lower row."""

    rows: npt.NDArray[np.float32]
    """(p, d)"""
    upper: npt.NDArray[np.float64]
    """(p,) squared distance to the nearest of the centres seen: no less than to the nearest of all."""
    seen: npt.NDArray[np.int64]
    """(p,) how many centres that is."""
    heap: npt.NDArray[np.int64]
    """Rows that may be picked; the heap is the first ``size`` of them."""


@compiled_in_any_order
def _within(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], limit: np.float32) -> bool:
    total, width = np.float32(0), len(x)
    for start in range(0, width, CHUNK):
        for j in range(start, min(start + CHUNK, width)):
            gap = x[j] - y[j]
            total += gap * gap
        if total > limit:
            return False
    return True


@compiled
def squared_distance(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> float:
    """Sum of squared differences of two rows in float64, in four strands: the same on every processor."""
    a, b, c, e = 0.0, 0.0, 0.0, 0.0
    width = len(x)
    whole = width - width % 4
    for j in range(0, whole, 4):
        a += (np.float64(x[j]) - np.float64(y[j])) ** 2
        b += (np.float64(x[j + 1]) - np.float64(y[j + 1])) ** 2
        c += (np.float64(x[j + 2]) - np.float64(y[j + 2])) ** 2
        e += (np.float64(x[j + 3]) - np.float64(y[j + 3])) ** 2
    for j in range(whole, width):
        a += (np.float64(x[j]) - np.float64(y[j])) ** 2
    return (a + b) + (c + e)


@compiled
def settle(
    panel: Panel,
    which: npt.NDArray[np.int64],
    centres: npt.NDArray[np.float32],
    products: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float32],
    centre_norms: npt.NDArray[np.float32],
    slack: float,
) -> None:
    """Lower the bounds of ``which`` rows to their exact distances to the nearest of m centres, where these are lower.

    Args:
        products: (len(which), m) inner products of rows and centres, both from one origin.
        norms, centre_norms: (len(which),) and (m,) their squared lengths from there.
        slack: relative error of a squared distance from these, beside the sum of the two norms.
    """
    for i in range(len(which)):
        row = panel.rows[which[i]]
        value = panel.upper[which[i]]
        for j in range(len(centres)):
            both = norms[i] + centre_norms[j]
            if not both - 2 * products[i, j] - (slack * both + 1e-37) >= value:  # not "<": NaN is looked at
                value = min(value, squared_distance(row, centres[j]))
        panel.upper[which[i]] = value


@compiled
def _before(value: float, row: int, other: float, other_row: int) -> bool:
    return value > other or (value == other and row < other_row)


@compiled
def _sink(panel: Panel, size: int, at: int) -> None:
    """Let the entry at ``at`` sink to where no child comes before it."""
    heap, upper = panel.heap, panel.upper
    row = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(upper[heap[child + 1]], heap[child + 1], upper[heap[child]], heap[child]):
            child += 1
        if not _before(upper[heap[child]], heap[child], upper[row], row):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = row


@compiled
def _push(panel: Panel, size: int, row: int) -> None:
    """Add a row to a heap of ``size``."""
    heap, upper, at = panel.heap, panel.upper, size
    while at > 0 and _before(upper[row], row, upper[heap[(at - 1) // 2]], heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = row


@compiled
def _pop(panel: Panel, size: int) -> int:
    """Take the top of a heap of ``size``."""
    row = panel.heap[0]
    panel.heap[0] = panel.heap[size - 1]
    if size > 1:
        _sink(panel, size - 1, 0)
    return int(row)


@compiled
def build_heap(panel: Panel) -> None:
    """Order the entries of ``heap``."""
    for at in range(len(panel.heap) // 2 - 1, -1, -1):
        _sink(panel, len(panel.heap), at)


@compiled
def _refresh(
    panel: Panel, row: int, centres: npt.NDArray[np.float32], known: int, rival: float, rival_row: int
) -> bool:
    """Look at the centres that the row has not seen; stop once the rival comes first. Whether the row comes first."""
    slack = 1 + 4 * (panel.rows.shape[1] + 8) * 2.0**-24
    value, seen = panel.upper[row], panel.seen[row]
    while seen < known and _before(value, row, rival, rival_row):
        limit = np.float32(value * slack + 1e-37)  # the last term: float32 rounds there by absolute steps
        if _within(panel.rows[row], centres[seen], limit):
            value = min(value, squared_distance(panel.rows[row], centres[seen]))
        seen += 1
    panel.upper[row], panel.seen[row] = value, seen
    return bool(_before(value, row, rival, rival_row))


@compiled
def _exact_top(panel: Panel, size: int, centres: npt.NDArray[np.float32], known: int, bound: tuple[float, int]) -> bool:
    """Bring the farthest row of the heap to its top, its distance exact; False if the bound comes before it."""
    while True:
        row, (rival, rival_row) = panel.heap[0], bound
        for child in range(1, min(3, size)):
            other = panel.heap[child]
            if _before(panel.upper[other], other, rival, rival_row):
                rival, rival_row = panel.upper[other], other
        if _refresh(panel, row, centres, known, rival, rival_row):
            return True
        _sink(panel, size, 0)
        if not _before(panel.upper[panel.heap[0]], panel.heap[0], bound[0], bound[1]):
            return False


@compiled
def _take_farthest(
    panel: Panel, size: int, centres: npt.NDArray[np.float32], known: int, ignored: int, bound: tuple[float, int]
) -> int:
    """Take the farthest row but ``ignored`` from the heap; -1 if a row outside of the panel may come before it."""
    taken, count = np.empty(ignored + 1, dtype=np.int64), 0
    while count <= ignored and count < size and _exact_top(panel, size - count, centres, known, bound):
        taken[count] = _pop(panel, size - count)
        count += 1
    found = count > ignored
    for back in range(count - found):
        _push(panel, size - count + back, taken[back])
    return int(taken[ignored]) if found else -1


@compiled
def pick_many(
    panel: Panel,
    size: int,
    centres: npt.NDArray[np.float32],
    known: int,
    ignored: int,
    outside: int,
    bound: tuple[float, int],
    picked: npt.NDArray[np.int64],
    distances: npt.NDArray[np.float64],
) -> int:
    """Pick rows until ``picked`` is full or a row outside may be farther; each becomes a centre. How many.

    Args:
        size: rows in the heap.
        centres: (known + k, d); the first ``known`` are the centres so far, the picks go behind them.
        ignored: how many rows farther than the one picked are left alone, while enough remain.
        outside: how many rows may be picked that are not in the panel.
        bound: an upper bound of their squared distances, and the row of the panel that the first
            of those with this bound lies before.
        picked, distances: (k,) to be filled; distances are squared.
    """
    for count in range(len(picked)):
        spare = size + outside - (len(picked) - count)
        row = _take_farthest(panel, size, centres, known, min(ignored, spare), bound)
        if row < 0:
            return count
        picked[count], distances[count] = row, panel.upper[row]
        centres[known] = panel.rows[row]
        known, size = known + 1, size - 1
    return len(picked)
