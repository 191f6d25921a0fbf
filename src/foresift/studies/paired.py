"""Numbers of a paired comparison: two ways of choosing data, the same seeds, models and sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

Outcome = Literal["win", "loss", "tie", "undecided"]
CLEAR = 2.0
"""Standard errors that a mean difference must exceed to count as more than noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Accuracies of n seeds with chosen and with random data of the same size, within [0, 1]."""

    chosen: tuple[float, ...]
    random: tuple[float, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        """(n,) chosen minus random, seed by seed."""
        return tuple(a - b for a, b in zip(self.chosen, self.random, strict=True))

    @property
    def won(self) -> int:
        """Seeds in which the chosen data were strictly better."""
        return sum(difference > 0 for difference in self.differences)

    @property
    def standard_error(self) -> float | None:
        """Of the mean difference; None for a single seed."""
        spread = deviation(self.differences)
        return None if spread is None else spread / math.sqrt(len(self.differences))

    @property
    def outcome(self) -> Outcome:
        """``win`` or ``loss`` beyond two standard errors, else ``tie``; one seed decides nothing."""
        error = self.standard_error
        if error is None:
            return "undecided"
        mean = fmean(self.differences)
        if abs(mean) <= CLEAR * error:
            return "tie"
        return "win" if mean > 0 else "loss"


def deviation(values: tuple[float, ...]) -> float | None:
    """Standard deviation with n - 1 in the denominator; None for a single value."""
    return stdev(values) if len(values) > 1 else None


def accuracy_text(values: tuple[float, ...]) -> str:
    """``93.1 ± 0.4 %``: mean and standard deviation over seeds."""
    return f"{100 * fmean(values):.1f}{_plus_minus(values, 1)} %"


def difference_text(values: tuple[float, ...]) -> str:
    """``+1.20 ± 0.52 pp``: mean and standard deviation over seeds, in percentage points."""
    return f"{100 * fmean(values):+.2f}{_plus_minus(values, 2)} pp"


def verdict(pair: Paired, *, strategy: str, learner: str, labels: int) -> str:
    """One sentence that says what the numbers say, a defeat as plainly as a win.

    Args:
        strategy: which chose the data.
        learner: the model that was trained on them.
        labels: the size of both sets.
    """
    where = f"With {learner} and {labels} labels"
    found = difference_text(pair.differences)
    error = pair.standard_error
    if error is None:
        return f"{where}: {found} in one seed, which decides nothing; run more with --seeds."
    against = f"{found}, ahead in {pair.won} of {len(pair.differences)} seeds"
    twice = f"twice the standard error of {100 * error:.2f} pp"
    return {
        "win": f"{where}, {strategy} beat random here: {against}, more than {twice}.",
        "tie": f"{where}, {strategy} did not beat random here: {against}, within {twice}.",
        "loss": f"{where}, {strategy} did not beat random here, it did worse: {against}, more than {twice}.",
    }[pair.outcome]


def _plus_minus(values: tuple[float, ...], digits: int) -> str:
    spread = deviation(values)
    return "" if spread is None else f" ± {100 * spread:.{digits}f}"
