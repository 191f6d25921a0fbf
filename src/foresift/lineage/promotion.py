"""Is one model better than another on the same samples: the paired difference, its interval, and an exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binomtest

from foresift.core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Two models on the same n samples."""

    n: int
    won: int
    """Samples that only the challenger gets right."""
    lost: int
    """Samples that only the holder gets right."""
    challenger: float
    """Accuracies, within [0, 1]."""
    holder: float
    low: float
    """95 % interval of the difference of accuracies, challenger minus holder."""
    high: float
    p: float
    """Of McNemar's exact test, two-sided."""

    @property
    def difference(self) -> float:
        """Challenger minus holder."""
        return (self.won - self.lost) / self.n

    @property
    def beats(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low > 0


def duel(challenger: npt.NDArray[np.bool_], holder: npt.NDArray[np.bool_], *, level: float = 0.95) -> Duel:
    """Compare two models by which of the same samples each gets right.

    The interval is conditional on the m samples about which they differ: won is binomial of m
    with share q, the exact (Clopper-Pearson) interval of q is carried over to
    ``m (2 q - 1) / n``. So it excludes 0 exactly where McNemar's exact test rejects.

    Args:
        challenger, holder: (n,) whether each sample is right.
        level: of the interval, within (0, 1).
    Raises:
        DataError: no sample, or not the same number.
    Source: McNemar 1947; Clopper and Pearson 1934.
    """
    if challenger.shape != holder.shape or challenger.ndim != 1 or not len(challenger):
        raise DataError(f"expected the same samples for both models, got {challenger.shape} and {holder.shape}")
    n = len(challenger)
    won, lost = int((challenger & ~holder).sum()), int((holder & ~challenger).sum())
    differing = won + lost
    low, high = _share(won, differing, level)
    return Duel(
        n=n,
        won=won,
        lost=lost,
        challenger=float(challenger.mean()),
        holder=float(holder.mean()),
        low=differing * (2 * low - 1) / n,
        high=differing * (2 * high - 1) / n,
        p=1.0 if not differing else float(binomtest(won, differing).pvalue),
    )


def _share(hits: int, trials: int, level: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high
