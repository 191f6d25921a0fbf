"""Which vessel the next drop goes to, so that the emptiest fill first."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows


def fill_order(levels: npt.NDArray[np.integer[Any]], room: npt.NDArray[np.integer[Any]], k: int) -> Rows:
    """The vessel of each of k drops: always the lowest level that has room, the first of equal ones.

    A larger k extends a smaller one.

    Args:
        levels: (c,) drops that are in already, 0 or more.
        room: (c,) drops that still fit, 0 or more.
        k: up to the sum of ``room``.
    Returns:
        (k,) vessels.
    Cost: O(c + k log c).
    """
    queue = [(int(level), vessel) for vessel, level in enumerate(levels.tolist()) if room[vessel] > 0]
    heapq.heapify(queue)
    left = room.copy()
    order = np.empty(k, dtype=np.intp)
    for drop in range(k):
        level, vessel = queue[0]
        order[drop] = vessel
        left[vessel] -= 1
        if left[vessel]:
            heapq.heapreplace(queue, (level + 1, vessel))
        else:
            heapq.heappop(queue)
    return order
