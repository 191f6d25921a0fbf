"""When a run has had enough, what more labels would bring, and what choosing them has brought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least, check_within
from foresift.cycle.curves import evaluation_error
from foresift.cycle.forecast import Forecaster, Point

REACH = 100
"""Forecasts of labels look no further than so many times the labels in hand."""
_STEP = 1.02
CLEAR = 2.0
"""Standard errors that a gain must exceed to count as more than noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRules:
    """When to stop, looked at before every round."""

    max_labels: int
    """Labels of the whole run, never exceeded."""
    target: float | None = None
    """Stop once an evaluated accuracy is at least this."""
    epsilon: float = 0.001
    """An improvement up to this, or up to one standard error of the evaluation if that is larger, is none."""
    patience: int = 3
    """Rounds without improvement after which a run has converged."""

    def __post_init__(self) -> None:
        check_at_least(0, max_labels=self.max_labels, epsilon=self.epsilon)
        check_at_least(1, patience=self.patience)
        if self.target is not None:
            check_within(0.0, 1.0, target=self.target)

    def reason(self, best: Sequence[float], *, charged: int, evaluation_size: int) -> str:
        """``target``, ``budget`` or ``converged``, the first that holds, or "" to go on.

        Args:
            best: the best accuracy evaluated so far, after round 0, 1, ...
            charged: labels paid so far.
            evaluation_size: samples that accuracies were counted over.
        Source: Huang et al. 2022, Alg. 1, lines 10-13; "converge" is undefined there.
        """
        if self.target is not None and best[-1] >= self.target:
            return "target"
        if charged >= self.max_labels:
            return "budget"
        return "converged" if self.converged(best, evaluation_size=evaluation_size) else ""

    def converged(self, best: Sequence[float], *, evaluation_size: int) -> bool:
        """Whether the last ``patience`` rounds together improved the best accuracy by no more than noise."""
        if len(best) <= self.patience:
            return False
        noise = float(evaluation_error(best[-1], evaluation_size))
        return best[-1] - best[-1 - self.patience] <= max(self.epsilon, noise)


class LabelsNeeded(NamedTuple):
    """How many more labels an accuracy will take; None where it is not in sight within a hundred times the labels."""

    target: float
    labels: int | None
    low: int | None
    """If the curve is as good as the data allow."""
    high: int | None
    """If it is as bad."""

    def __str__(self) -> str:
        aim = f"{100 * self.target:g} %"
        if self.labels == 0:
            return f"{aim} is reached"
        if self.low is None:
            return f"{aim} is not in sight"
        if self.labels is None:
            return f"{aim} is hardly in sight: at least {_round(self.low)} more labels"
        high = "no end in sight" if self.high is None else _round(self.high)
        return f"about {_round(self.labels)} more labels for {aim} ({_round(self.low)} to {high})"


def labels_needed(
    points: Sequence[Point],
    target: float,
    *,
    budget: int,
    evaluation_size: int,
    x: str = "labels",
    confidence: float = 0.9,
) -> LabelsNeeded:
    """How many more labels the run will take to a target, with an interval.

    Args:
        points: its evaluations so far, labels ascending.
        target: within (0, 1].
        budget: labels of one round; the prior gain is that of a round.
        evaluation_size: samples that accuracies were counted over.
        x: ``labels`` (a power law, for rounds of any size) or ``round``, as in :class:`Forecaster`.
        confidence: of the curve that the interval is read from.
    Returns:
        numbers to two per cent; the ends are where the ends of the curve's interval reach the target.
    Raises:
        UsageError: as of :meth:`Forecaster.curve`, or a target outside (0, 1].
    Cost: O(240) evaluations of the curve.
    """
    check_within(0.0, 1.0, target=target)
    curve = Forecaster(x=x, confidence=confidence).curve(points, budget=budget, evaluation_size=evaluation_size)
    if points[-1].accuracy >= target:
        return LabelsNeeded(target, 0, 0, 0)
    have = points[-1].labels
    totals = _totals(have, budget)
    forecasts = [curve.at(total) for total in totals]

    def first(values: Sequence[float | None]) -> int | None:
        """Labels to buy until the values reach the target."""
        reached = (total - have for total, value in zip(totals, values, strict=True) if (value or 0.0) >= target)
        return next(reached, None)

    values, lows, highs = zip(*forecasts, strict=True)
    return LabelsNeeded(target, first(values), first(highs), first(lows))


def _totals(have: int, budget: int) -> list[int]:
    """Numbers of labels in steps of two per cent, up to ``REACH`` times those in hand (of a round, if none)."""
    start = max(have, budget)
    steps = math.ceil(math.log(REACH) / math.log(_STEP))
    beyond = {math.ceil(start * _STEP**step) for step in range(steps + 1)}
    nearer = {have + math.ceil((start - have) * share / 50) for share in range(1, 50)}
    return sorted(total for total in beyond | nearer if total > have)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What chosen labels brought over as many random ones."""

    labels: int
    """Both sides had so many."""
    accuracy: float
    """Chosen minus control, as a share: 0.01 is one percentage point."""
    standard_error: float
    """Of two independent evaluations; on one evaluation set, which is usual, rather too large."""
    labels_saved: int | None
    """More labels that the control needs for the same accuracy; None where that is not in sight."""
    forecast: bool
    """Whether the labels saved lie beyond what the control arm has seen."""
    money: float | None
    """Labels saved at the price of one; None without a price."""

    @property
    def is_clear(self) -> bool:
        """Whether the gain is above two standard errors."""
        return self.accuracy > CLEAR * self.standard_error

    def __str__(self) -> str:
        points = f"{100 * self.accuracy:+.1f} ± {100 * self.standard_error:.1f} pp at {self.labels:,} labels"
        if self.labels_saved is None:
            return points
        saved = f", worth {self.labels_saved:,} labels{' by forecast' if self.forecast else ''}"
        return points + saved + ("" if self.money is None else f" ({self.money:,.2f})")


def gain_over_control(
    chosen: Sequence[Point],
    control: Sequence[Point],
    *,
    budget: int,
    evaluation_size: int,
    price: float | None = None,
) -> Gain:
    """The gain at the most labels that both sides have seen.

    Args:
        chosen: evaluations of the run.
        control: those of the control arm, chosen at random; sizes may differ, accuracy is then
            interpolated in the logarithm of the labels.
        budget: labels of a round, for the forecast of the control arm.
        evaluation_size: samples that accuracies were counted over.
        price: of one label, in any currency.
    Raises:
        UsageError: no points, or one side ends before the other begins.
    """
    if not chosen or not control:
        raise UsageError("expected evaluations of the run and of the control arm, got none of one")
    labels = min(chosen[-1].labels, control[-1].labels)
    if labels < max(chosen[0].labels, control[0].labels):
        raise UsageError("the run and the control arm were never evaluated at comparable numbers of labels")
    reached, of_control = _interpolated(chosen, labels), _interpolated(control, labels)
    saved, forecast = _labels_of_control(control, reached, budget, evaluation_size)
    saved = None if saved is None else saved - labels
    return Gain(
        labels=labels,
        accuracy=reached - of_control,
        standard_error=float(np.hypot(*evaluation_error(np.array([reached, of_control]), evaluation_size))),
        labels_saved=saved,
        forecast=forecast,
        money=None if saved is None or price is None else saved * price,
    )


def _interpolated(points: Sequence[Point], labels: int) -> float:
    x = np.log1p([float(point.labels) for point in points])
    return float(np.interp(np.log1p(float(labels)), x, [point.accuracy for point in points]))


def _labels_of_control(
    control: Sequence[Point], accuracy: float, budget: int, evaluation_size: int
) -> tuple[int | None, bool]:
    """Labels with which the control arm reaches an accuracy, and whether that is a forecast."""
    best = np.maximum.accumulate([point.accuracy for point in control])
    x = np.log1p([float(point.labels) for point in control])
    at = int(np.searchsorted(best, accuracy))
    if at == 0:
        return control[0].labels, False
    if at < len(best):
        share = (accuracy - best[at - 1]) / (best[at] - best[at - 1])
        return round(float(np.expm1(x[at - 1] + share * (x[at] - x[at - 1])))), False
    axis = "labels" if control[0].labels else "round"
    needed = labels_needed(control, accuracy, budget=budget, evaluation_size=evaluation_size, x=axis)
    return (None if needed.labels is None else control[-1].labels + needed.labels), True


def _round(labels: int) -> str:
    """Two significant digits: a forecast deserves no more."""
    return f"{float(f'{labels:.1e}'):,.0f}"
