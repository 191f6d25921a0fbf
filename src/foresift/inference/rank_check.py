"""Does a faster engine choose the same images? Rank agreement of two engines on a sample."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foresift.core.arrays import Values
from foresift.core.errors import UsageError

MIN_COMPARED = 32
"""A smaller top says little: one image of it may agree by luck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """How alike two engines must rank."""

    correlation: float = 0.99
    """Least rank correlation, within -1 .. 1."""
    overlap: float = 0.97
    """Least share of the top that both pick, within 0 .. 1."""

    def __post_init__(self) -> None:
        for name, value, low in (("correlation", self.correlation, -1), ("overlap", self.overlap, 0)):
            if not low <= value <= 1:
                raise UsageError(f"{name} must be within {low} .. 1, got {value}")


ALIKE = Alike()
"""Unless somebody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCheck:
    """How far a candidate engine orders a sample as the reference does."""

    correlation: float
    """Spearman's rank correlation of the scores, within -1 .. 1."""
    overlap: float
    """Share of the reference's top picks that the candidate picks too; ties at the cut agree."""
    n: int
    """Images in the sample."""
    k: int
    """Size of the top that was compared."""
    expected: Alike = ALIKE

    @property
    def passed(self) -> bool:
        """Whether the candidate may rank this pool."""
        return self.correlation >= self.expected.correlation and self.overlap >= self.expected.overlap

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a receipt."""
        return {**asdict(self), "passed": self.passed}


def rank_check(reference: Values, candidate: Values, *, share: float, expected: Alike = ALIKE) -> RankCheck:
    """Compare two (n,) score vectors of the same images at the top ``share`` of them.

    Args:
        share: budget over pool, within (0, 1]; at least ``MIN_COMPARED`` images are compared.
    """
    n = len(reference)
    k = min(n, max(MIN_COMPARED, round(share * n)))
    return RankCheck(
        correlation=spearman(reference, candidate),
        overlap=top_overlap(reference, candidate, k),
        n=n,
        k=k,
        expected=expected,
    )


def top_overlap(reference: Values, candidate: Values, k: int) -> float:
    """Share of the candidate's top k that the reference would have picked or might have, by a tie at its cut.

    O(n log n); 1 when k = n.
    """
    cut = np.partition(reference, len(reference) - k)[len(reference) - k]
    chosen = np.argsort(-candidate, kind="stable")[:k]
    return float(np.mean(reference[chosen] >= cut))


def spearman(first: Values, second: Values) -> float:
    """Spearman's rank correlation with mean ranks for ties; 1 when both are constant, 0 when one is."""
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if norm == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float((a * b).sum() / norm)


def _ranks(values: Values) -> Values:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Values = ((ends - counts + ends - 1) / 2)[inverse]
    return ranks
