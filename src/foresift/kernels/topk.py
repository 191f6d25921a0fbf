"""Exact top-k by (value descending, id ascending), whole or merged over shards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, Rows, Values


def top_k(values: npt.NDArray[Any], k: int) -> Rows:
    """Rows of the k largest values, largest first, equal values in order of row.

    Where rows are in order of id this is the order (value descending, id ascending).

    Args:
        values: (n,) without NaN.
        k: within 0 .. n.
    Cost: O(n + k log k) time, O(n) memory.
    """
    n = len(values)
    if k == 0:
        return np.empty(0, dtype=np.intp)
    if k == n:
        return _descending(values)
    cut = np.partition(values, n - k)[n - k]
    above = np.flatnonzero(values > cut)
    at_cut = np.flatnonzero(values == cut)[: k - len(above)]
    rows = np.sort(np.concatenate([above, at_cut]))
    return rows[_descending(values[rows])]


def top_k_by_id(ids: Ids, values: Values, k: int) -> Rows:
    """Rows of the k largest values, equal values in order of id; ids in any order, distinct.

    ``k`` above n gives all rows. O(n log n) for the order of the ids.
    """
    by_id = np.argsort(ids, kind="stable")
    return by_id[top_k(values[by_id], min(k, len(ids)))]


def merge_top_k(shards: Iterable[tuple[Ids, Values]], k: int) -> tuple[Ids, Values]:
    """Top-k of a union from the top-k of its parts: exactly what one pass over all would give.

    Args:
        shards: ``(ids, values)`` of each part's own k best (or more), in any order; ids
            distinct over all parts.
        k: 0 or more; fewer rows in all give all of them.
    """
    parts = list(shards)
    if not parts:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    ids = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    rows = top_k_by_id(ids, values, k)
    return ids[rows], values[rows]


def _descending(values: npt.NDArray[Any]) -> Rows:
    """A stable descending order: ascending on the reversed array, reversed back."""
    return len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
