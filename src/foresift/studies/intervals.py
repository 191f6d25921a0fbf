"""A mean over seeds with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.special import stdtrit

from foresift.studies.paired import deviation

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Of independent seeds; Student's interval."""

    value: float
    reach: float | None
    """Half width of the 95 % interval; None for a single seed."""

    @property
    def low(self) -> float:
        """Lower end; minus infinity for a single seed."""
        return self.value - (math.inf if self.reach is None else self.reach)

    @property
    def high(self) -> float:
        """Upper end; infinity for a single seed."""
        return self.value + (math.inf if self.reach is None else self.reach)

    def text(self, *, digits: int = 2, sign: str = "") -> str:
        """``0.12 (-0.05 to 0.29)``; ``sign="+"`` marks gains as well."""
        value = f"{self.value:{sign}.{digits}f}"
        if self.reach is None:
            return value
        return f"{value} ({self.low:{sign}.{digits}f} to {self.high:{sign}.{digits}f})"


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of n >= 1 seeds, and t(n - 1) standard errors on both sides."""
    spread = deviation(tuple(values))
    if spread is None:
        return Mean(value=fmean(values), reach=None)
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return Mean(value=fmean(values), reach=quantile * spread / math.sqrt(len(values)))
