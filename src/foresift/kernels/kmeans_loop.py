"""The inner loop of Lloyd's passes, in machine code. Import it only where it runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foresift.kernels.compiled import compiled, compiled_in_any_order

MORE = np.float32(1 + 1e-5)
LESS = np.float32(1 - 1e-5)
"""Distances and bounds are compared with room for the rounding of float32 sums of up to a few thousand squares."""


@compiled_in_any_order
def _squared_distance(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> np.float32:
    total = np.float32(0)
    for j in range(len(x)):
        gap = x[j] - y[j]
        total += gap * gap
    return np.float32(total)


@compiled
def narrow(
    rows: npt.NDArray[np.float32],
    centres: npt.NDArray[np.float32],
    shifts: npt.NDArray[np.float32],
    bounds: npt.NDArray[np.float32],
    distances: npt.NDArray[np.float32],
    assignment: npt.NDArray[np.intp],
) -> None:
    """Bring ``bounds``, ``distances`` and ``assignment`` up to date with centres that have moved.

    Args:
        rows: (b, d), centres: (k, d) where they are now.
        shifts: (k,) at least how far each has moved.
        bounds: (b, k) at most the distance of every row to every centre before the move.
        distances, assignment: (b,) squared distance to the nearest centre, and which; the first of equally near ones.
    """
    for i in range(len(rows)):
        own = assignment[i]
        best = _squared_distance(rows[i], centres[own])
        reach = np.sqrt(best) * MORE
        for j in range(len(centres)):
            bounds[i, j] -= shifts[j]
            if bounds[i, j] <= reach and j != assignment[i]:
                distance = _squared_distance(rows[i], centres[j])
                bounds[i, j] = np.sqrt(distance) * LESS
                if distance < best or (distance == best and j < own):
                    best, own = distance, j
                    reach = np.sqrt(best) * MORE
        bounds[i, assignment[i]] = 0
        distances[i], assignment[i] = best, own
