"""How well one model would choose labels for another, judged on labels that are already owned.

Statistics of arrays only. Four figures and a rehearsal, each with its interval; what an absolute
spread of the score says is left out on purpose: a choice of the largest values is the same after any
monotone change of the scale, which makes the spread whatever one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.kernels.topk import top_k

Array = npt.NDArray[Any]
LEVEL = 0.95
LEAST = 3
"""Samples below which nothing is said."""
DRAWS = 1_000
DRAWN_ROWS = 5_000_000
"""Rows that all draws of a bootstrap look at together, at most; at least 100 draws are made."""
FITTED = 0.95
"""Accuracy on its own labels below which a model is said not to be able to fit them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and where it may lie."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low > 0

    @property
    def holds_zero(self) -> bool:
        """Whether 0 may be the truth."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitability:
    """What speaks for a surrogate, of m labeled samples."""

    usefulness: Interval
    """U: rank correlation of the surrogate's score with the deployment model's loss, both out of fold."""
    reliability: Interval
    """R: rank correlation of the surrogate's scores with those of a second training."""
    overlap: Interval
    """O: share of the surrogate's largest scores that are among the deployment model's largest too."""
    overlap_by_chance: float
    variation: float
    """Standard deviation over mean of the surrogate's score; 0 where the mean is."""
    labels: int
    """m"""
    budget: int
    """How many largest scores the overlap looks at."""
    fit: float | None = None
    """Accuracy of the deployment model on samples that the surrogate would choose, after learning from them."""
    pilot: Interval | None = None
    """Gain of chosen over random labels in two or more rehearsals on what is owned, in ``pilot_unit``."""
    pilot_unit: str = ""
    pilots: int = 0
    """Rehearsals."""

    @property
    def evidence(self) -> bool:
        """Whether U says that the surrogate finds what the deployment model does not know yet."""
        return self.usefulness.above_zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores of the same n samples by models that did not learn from them."""

    surrogate: Array
    """(n,)"""
    again: Array
    """(n,) by a second training of the surrogate with another seed."""
    deployment: Array
    """(n,) by the deployment model itself."""


def suitability(
    scores: Array,
    losses: Array,
    scored: Scored,
    *,
    budget: int,
    seed: int = 0,
    fit: float | None = None,
    pilots: Sequence[tuple[float, float]] = (),
    pilot_unit: str = "",
) -> Suitability:
    """The figures of a pair of models.

    Args:
        scores: (m,) the surrogate's score of every labeled sample, out of fold.
        losses: (m,) the deployment model's losses of the same, out of fold.
        scored: of the pool, or of the labeled samples where there is no other.
        budget: within 1 .. n.
        pilots: (chosen, random) of every rehearsal, higher = better.
    Raises:
        UsageError: fewer than 3 samples, arrays of different lengths, or a budget out of range.
    """
    _check(scores, losses, scored, budget)
    rng, n = np.random.default_rng([seed, 41]), len(scored.surrogate)
    return Suitability(
        usefulness=bootstrapped(rank_correlation, scores, losses, rng=rng),
        reliability=bootstrapped(rank_correlation, scored.surrogate, scored.again, rng=rng),
        overlap=bootstrapped(partial(top_overlap, k=budget), scored.surrogate, scored.deployment, rng=rng),
        overlap_by_chance=budget / n,
        variation=variation(scored.surrogate),
        labels=len(scores),
        budget=budget,
        fit=fit,
        pilot=mean_interval([chosen - random for chosen, random in pilots]) if len(pilots) > 1 else None,
        pilot_unit=pilot_unit,
        pilots=len(pilots),
    )


def _check(scores: Array, losses: Array, scored: Scored, budget: int) -> None:
    m, n = len(scores), len(scored.surrogate)
    lengths = (len(losses) - m, len(scored.again) - n, len(scored.deployment) - n)
    if m < LEAST or n < LEAST or any(lengths):
        raise UsageError(
            f"suitability needs both models' values of the same samples, {LEAST} or more, got {m} and {len(losses)} "
            f"labeled, {n}, {len(scored.again)} and {len(scored.deployment)} scored ones"
        )
    if not 1 <= budget <= n:
        raise UsageError(f"the budget must be within 1 .. {n} scored samples, got {budget}")


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's correlation within [-1, 1], ties at their mean rank; 0 where either is constant: it orders nothing."""
    from scipy.stats import rankdata

    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip((x @ y) / scale, -1.0, 1.0)) if scale > 0 else 0.0


def top_overlap(a: Array, b: Array, k: int) -> float:
    """Share of the k largest of ``a`` that are among the k largest of ``b``; equal values in order of row."""
    return len(np.intersect1d(top_k(a, k), top_k(b, k))) / k


def variation(scores: Array) -> float:
    """Coefficient of variation, standard deviation (n) over mean; 0 where the mean is not above 0."""
    mean = float(np.mean(scores, dtype=np.float64))
    return float(np.std(scores, dtype=np.float64)) / mean if mean > 0 else 0.0


def bootstrapped(
    statistic: Callable[[Array, Array], float], a: Array, b: Array, *, rng: np.random.Generator, level: float = LEVEL
) -> Interval:
    """A statistic of paired samples with its percentile interval over samples drawn with replacement.

    The interval always holds the value itself.

    Cost: up to 1,000 evaluations, fewer for more than 5,000 rows.
    Source: Efron 1979, the percentile method.
    """
    n, value = len(a), statistic(a, b)
    draws = max(100, min(DRAWS, DRAWN_ROWS // max(1, n)))
    drawn = np.array([statistic(a[rows], b[rows]) for rows in (rng.integers(n, size=n) for _ in range(draws))])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(min(low, value)), high=float(max(high, value)))


def mean_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """The mean of two or more values with Student's interval.

    Raises:
        UsageError: a single value says nothing of its spread.
    """
    from scipy.stats import t

    if len(values) < 2:
        raise UsageError("an interval of a mean takes two values or more")
    mean = float(np.mean(values))
    reach = float(t.ppf((1 + level) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Interval(value=mean, low=mean - reach, high=mean + reach)


def findings(found: Suitability, *, surrogate: str, deployment: str) -> list[str]:
    """What the figures say, one sentence each; warnings first."""
    told = []
    if found.fit is not None and found.fit < FITTED:
        told.append(
            f"warning: {deployment} reaches {found.fit:.1%} on labels that {surrogate} would choose, below "
            f"{FITTED:.0%}: a model that can't fit hard samples gains nothing from them; take a larger one, or train "
            "longer"
        )
    u = found.usefulness
    if u.above_zero:
        told.append(f"{surrogate} tells what {deployment} does not know yet: U = {spoken(u)}, above 0")
    elif u.holds_zero:
        told.append(f"no evidence that {surrogate} beats random: U = {spoken(u)} holds 0")
    else:
        told.append(f"evidence against {surrogate}: U = {spoken(u)}, below 0; random labels are the better choice")
    if found.pilot is not None and found.pilot.holds_zero:
        told.append(f"{found.pilots} rehearsals on owned labels do not decide: their interval holds 0")
    return told


def spoken(interval: Interval) -> str:
    """``+0.40 (+0.10 to +0.60)``."""
    return f"{interval.value:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"
