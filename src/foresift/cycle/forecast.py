"""What accuracy the next labels will bring: the forecaster of the strategy trial, good for any run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least, check_one_of
from foresift.cycle.curves import Array, Curve, Forecast, fit_autolrs, fit_robust, last_value


class Point(NamedTuple):
    """One evaluated model."""

    labels: int
    """It was trained on so many."""
    accuracy: float
    """On the evaluation set, within [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """Accuracy as a function of the number of labels."""

    fitted: Curve
    position: Callable[[int], float]
    """From labels to the x axis that was fitted on."""

    def at(self, labels: int) -> Forecast:
        """The accuracy of a model trained on so many labels."""
        return self.fitted.at(self.position(labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecaster:
    """How learning curves are extended."""

    fit: str = "robust"
    """``robust``: a rising exponential under weak priors, with an interval; ``autolrs``: the published least
    squares; ``last``: the last value again."""
    x: str = "round"
    """``round``: the paper's axis, right when every round buys as many labels; ``labels``: the logarithm of
    the labels, which makes the exponential a power law and any purchases comparable."""
    confidence: float = 0.9
    """Of the interval, within (0, 1)."""

    def __post_init__(self) -> None:
        check_one_of(tuple(_FITS), fit=self.fit)
        check_one_of(("round", "labels"), x=self.x)
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence must be within (0, 1), got {self.confidence!r}")

    def curve(self, points: Sequence[Point], *, budget: int, evaluation_size: int) -> LearningCurve:
        """The curve through an arm's evaluations.

        Args:
            points: m >= 1 of them, labels strictly ascending.
            budget: labels of the next round.
            evaluation_size: samples that accuracies were counted over.
        Raises:
            UsageError: no points, labels that do not grow, accuracies outside [0, 1], or no label in round 0
                with ``x="labels"``.
        """
        _check(points)
        check_at_least(1, budget=budget, evaluation_size=evaluation_size)
        x, position = self._axis(points, budget)
        y = np.array([point.accuracy for point in points], dtype=np.float64)
        job = _Job(x, y, position(points[-1].labels + budget), evaluation_size, self.confidence)
        return LearningCurve(fitted=_FITS[self.fit](job), position=position)

    def next(self, points: Sequence[Point], *, budget: int, evaluation_size: int) -> Forecast:
        """The accuracy after one more round of ``budget`` labels."""
        curve = self.curve(points, budget=budget, evaluation_size=evaluation_size)
        return curve.at(points[-1].labels + budget)

    def _axis(self, points: Sequence[Point], budget: int) -> tuple[Array, Callable[[int], float]]:
        """Places of the points, and from labels to a place beyond them."""
        if self.x == "round":
            last, rounds = points[-1].labels, len(points) - 1
            return np.arange(len(points), dtype=np.float64), lambda labels: rounds + (labels - last) / budget
        if points[0].labels < 1:
            raise UsageError("x='labels' takes a logarithm: expected at least one label in round 0; use x='round'")
        return np.log([float(point.labels) for point in points]), math.log


class _Job(NamedTuple):
    x: Array
    y: Array
    next_x: float
    evaluation_size: int
    confidence: float


_FITS: Mapping[str, Callable[[_Job], Curve]] = {
    "robust": lambda job: fit_robust(
        job.x, job.y, next_x=job.next_x, evaluation_size=job.evaluation_size, confidence=job.confidence
    ),
    "autolrs": lambda job: fit_autolrs(job.x, job.y),
    "last": lambda job: last_value(job.y),
}


def _check(points: Sequence[Point]) -> None:
    if not points:
        raise UsageError("expected at least one evaluation, got none")
    if any(after.labels <= before.labels for before, after in pairwise(points)):
        raise UsageError(f"labels must grow from evaluation to evaluation, got {[point.labels for point in points]}")
    for point in points:
        if not 0 <= point.accuracy <= 1:
            raise UsageError(f"accuracy must be within [0, 1], got {point.accuracy!r} at {point.labels} labels")
