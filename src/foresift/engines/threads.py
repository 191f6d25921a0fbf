"""How many threads one call of an engine may take."""

from __future__ import annotations

import os

GRANTED = "OMP_NUM_THREADS"
"""What torch heeds by itself; the other libraries are told."""


def threads() -> int:
    """As many as the environment grants this process, as it does to each of several replicas; else one a core."""
    granted = os.environ.get(GRANTED, "")
    return max(1, int(granted)) if granted.isdecimal() else os.cpu_count() or 1
