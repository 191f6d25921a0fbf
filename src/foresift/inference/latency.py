"""How long one call takes on this machine, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

WARM_UP = 3
"""Calls that are not timed: allocators and caches settle in them."""
LEAST = 5
"""Timed calls at least, however slow they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Warm calls, in milliseconds."""

    median_ms: float
    low_ms: float
    """The 10th percentile."""
    high_ms: float
    """The 90th percentile."""
    calls: int


def measure_latency(
    call: Callable[[], object], *, limit_s: float = 1.0, clock: Callable[[], float] = time.perf_counter
) -> Latency:
    """The median of warm calls, as many as fit into ``limit_s`` and at least ``LEAST``.

    Args:
        call: returns when its work is done.
    """
    for _ in range(WARM_UP):
        call()
    taken: list[float] = []
    while len(taken) < LEAST or sum(taken) < limit_s:
        start = clock()
        call()
        taken.append(clock() - start)
    low, median, high = (1000 * float(value) for value in np.percentile(taken, (10, 50, 90)))
    return Latency(median_ms=median, low_ms=low, high_ms=high, calls=len(taken))
