"""When further members no longer change which samples come first."""

from __future__ import annotations

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least
from foresift.kernels.topk import top_k


def top_overlap(first: Rows, second: Rows) -> float:
    """Share of the k rows of one order that are among the k of the other, within [0, 1]."""
    return len(np.intersect1d(first, second)) / max(1, len(first))


def rank_correlation(first: Values, second: Values) -> float:
    """Spearman's rank correlation of (n,) values, ties sharing their mean rank; 1 where either is constant.

    Source: Spearman 1904, as the correlation of ranks.
    """
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / size, -1, 1)) if size > 0 else 1.0


class Settled:
    """Tells from which member on the k largest values stay as they are.

    They count as settled once, ``patience`` members in a row, at least ``overlap`` of the k rows stayed and the
    values of all rows that were among them before or after keep a rank correlation of at least ``correlation``.
    A rule of thumb without a guarantee: what it gives up shows in the comparison with all members.
    """

    def __init__(self, k: int, *, overlap: float = 0.95, correlation: float = 0.95, patience: int = 2) -> None:
        check_at_least(1, k=k, patience=patience)
        if not (0 < overlap <= 1 and 0 < correlation <= 1):
            raise UsageError(f"overlap and correlation must be within (0, 1], got {overlap} and {correlation}")
        self._k, self._overlap, self._correlation, self._patience = k, overlap, correlation, patience
        self._before: Values | None = None
        self._calm = self._seen = 0
        self._figures: list[tuple[float, float]] = []

    def add(self, values: Values) -> bool:
        """Whether the order is settled now that one more member has been heard.

        Args:
            values: (n,) by all members so far; another n than before starts the count again.
        Cost: O(n + k log k).
        """
        self._seen += 1
        before, self._before = self._before, values.copy()
        if before is None or len(before) != len(values):
            self._calm = 0
            return self.done
        overlap, correlation = self._likeness(before, values)
        self._figures.append((overlap, correlation))
        calm = overlap >= self._overlap and correlation >= self._correlation
        self._calm = self._calm + 1 if calm else 0
        return self.done

    @property
    def done(self) -> bool:
        """Whether it is settled."""
        return self._calm >= self._patience

    @property
    def members(self) -> int:
        """Members heard."""
        return self._seen

    @property
    def figures(self) -> tuple[tuple[float, float], ...]:
        """Overlap and rank correlation of the order after each member with that before it, from the second one on."""
        return tuple(self._figures)

    def _likeness(self, before: Values, now: Values) -> tuple[float, float]:
        k = min(self._k, len(now))
        first, second = top_k(before, k), top_k(now, k)
        rows = np.union1d(first, second)
        return top_overlap(first, second), rank_correlation(before[rows], now[rows])


def _ranks(values: Values) -> Values:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)
