"""Predictions beside realised gains: whether they are worth anything shows after a few of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foresift.core.errors import UsageError
from foresift.lineage.suitability import Interval, bootstrapped, rank_correlation, spoken

LEAST_PREDICTIONS = 4
"""Predictions below which nothing is said of how well they fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What was predicted of a pair, and what came of it."""

    surrogate: str
    deployment: str
    score: str
    predicted: float
    """U, a rank correlation."""
    low: float
    high: float
    pilot: float | None = None
    """The gain that rehearsals predict, as a share of accuracy; None where there were too few."""
    realised: float | None = None
    """Gain over random with as many labels, in the metric's own unit; None while nobody knows."""
    when: str = ""
    """When it was predicted: ISO 8601 with the time zone."""
    run: str = ""
    """Id of the run whose round brought the outcome; "" for the prediction itself."""
    round: int = 0

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Forecast:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            UsageError: names missing or unknown.
        """
        try:
            return cls(**plain)
        except TypeError as error:
            raise UsageError(f"not a row of the calibration log: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well what was predicted of one score's choices fitted what came of them.

    Figures are None for fewer than ``LEAST_PREDICTIONS`` predictions.
    """

    score: str
    outcomes: int
    """Known gains."""
    predictions: int
    """Predictions that the outcomes belong to. Rounds after one prediction are no independent rows: each prediction
    counts once, with the mean of its outcomes."""
    usefulness: Interval | None
    """Rank correlation of U and realised gain."""
    piloted: int
    """Those of the predictions that were rehearsed: U predicts an order, a rehearsal predicts a gain."""
    pilot: Interval | None
    """Rank correlation of rehearsed and realised gain."""
    right_sign: float | None
    """Share of the rehearsed predictions whose rehearsed and realised gains have the same sign."""
    off_by: float | None
    """Mean distance of rehearsed and realised gain, as a share (0.012 = 1.2 points)."""

    def __str__(self) -> str:
        """One sentence for people."""
        known = (
            f"{self.score}: {_counted(self.outcomes, 'known outcome')} of {_counted(self.predictions, 'prediction')}"
        )
        if self.usefulness is None:
            return f"{known}, too few to judge predictions by"
        told = f"{known}; U ranks them by {spoken(self.usefulness)}"
        if self.pilot is None or self.off_by is None:
            return f"{told}; too few of the predictions were rehearsed ({self.piloted})"
        return (
            f"{told}; rehearsals ({self.piloted}) rank them by {spoken(self.pilot)}, have the right sign in "
            f"{self.right_sign:.0%} and are {100 * self.off_by:.1f} points off on average"
        )


def latest(forecasts: Iterable[Forecast]) -> list[Forecast]:
    """One forecast for every (surrogate, deployment, score, time, round): a later row replaces the first."""
    kept: dict[tuple[str | int, ...], Forecast] = {}
    for one in forecasts:
        kept[one.surrogate, one.deployment, one.score, one.when, one.run, one.round] = one
    return list(kept.values())


def open_forecast(forecasts: Sequence[Forecast], *, surrogate: str, deployment: str, score: str) -> Forecast:
    """The last forecast of a pair whose outcome is not known yet.

    Raises:
        UsageError: there is none.
    """
    wanted = (surrogate, deployment, score)
    found = [one for one in latest(forecasts) if (one.surrogate, one.deployment, one.score) == wanted]
    waiting = [one for one in found if one.realised is None]
    if not waiting:
        raise UsageError(
            f"no prediction of {surrogate} choosing for {deployment} by {score} waits for its outcome; make one with "
            "foresift suitability"
        )
    return waiting[-1]


def prediction(
    forecasts: Sequence[Forecast], *, surrogates: Container[str], deployments: Container[str], score: str
) -> Forecast | None:
    """The last prediction of a pair that goes by any of these names, whatever came of it; None where there is none."""
    made = [one for one in latest(forecasts) if not one.run and one.score == score]
    fitting = [one for one in made if one.surrogate in surrogates and one.deployment in deployments]
    return fitting[-1] if fitting else None


def calibration(forecasts: Iterable[Forecast], *, seed: int = 0) -> tuple[Calibration, ...]:
    """How well predictions fitted their known outcomes, score by score in order of name.

    A prediction of one score says nothing of another's, whose best surrogates may be the other way round.
    """
    known: dict[str, list[tuple[Forecast, float]]] = {}
    for one in latest(forecasts):
        if one.realised is not None:
            known.setdefault(one.score, []).append((one, one.realised))
    return tuple(_calibrated(score, known[score], seed) for score in sorted(known))


def _calibrated(score: str, outcomes: Sequence[tuple[Forecast, float]], seed: int) -> Calibration:
    gains: dict[tuple[str, str, str], list[float]] = {}
    made: dict[tuple[str, str, str], Forecast] = {}
    for one, realised in outcomes:
        key = one.surrogate, one.deployment, one.when
        made[key] = one
        gains.setdefault(key, []).append(realised)
    means = {key: float(np.mean(values)) for key, values in gains.items()}
    ordered = [(made[key].predicted, mean) for key, mean in means.items()]
    rehearsed = [(pilot, mean) for key, mean in means.items() if (pilot := made[key].pilot) is not None]
    enough = len(rehearsed) >= LEAST_PREDICTIONS
    promised, came = np.array(rehearsed, dtype=np.float64).reshape(-1, 2).T
    return Calibration(
        score=score,
        outcomes=len(outcomes),
        predictions=len(made),
        usefulness=_ranked(ordered, seed),
        piloted=len(rehearsed),
        pilot=_ranked(rehearsed, seed),
        right_sign=float((np.sign(promised) == np.sign(came)).mean()) if enough else None,
        off_by=float(np.abs(promised - came).mean()) if enough else None,
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _ranked(pairs: Sequence[tuple[float, float]], seed: int) -> Interval | None:
    """Rank correlation of (predicted, realised); None for too few."""
    if len(pairs) < LEAST_PREDICTIONS:
        return None
    predicted, realised = np.array(pairs, dtype=np.float64).T
    return bootstrapped(rank_correlation, predicted, realised, rng=np.random.default_rng([seed, 43]))
