"""Predicted gains beside realised ones: whether the prediction is worth anything shows after a few rounds."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foresift.core.errors import UsageError
from foresift.lineage.suitability import Interval, bootstrapped, rank_correlation

LEAST_ROWS = 4
"""Pairs below which no rank correlation is told."""


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
    """Mean gain of the rehearsals, where there were any."""
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
    """How well predictions ranked what happened."""

    rows: int
    """Forecasts whose outcome is known."""
    correlation: Interval | None
    """Spearman of predicted and realised gains over them; None for too few."""
    right_sign: float | None
    """Share of them whose predicted and realised gains have the same sign."""

    def __str__(self) -> str:
        """One sentence for people."""
        if self.correlation is None:
            return f"{self.rows} outcomes are known, too few to say whether predictions rank them"
        one = self.correlation
        return (
            f"over {self.rows} known outcomes: rank correlation {one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f}), "
            f"the right sign in {self.right_sign:.0%}"
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


def calibration(forecasts: Iterable[Forecast], *, seed: int = 0) -> Calibration:
    """How well the forecasts whose outcome is known ranked and signed it."""
    known = [(one.predicted, one.realised) for one in latest(forecasts) if one.realised is not None]
    if not known:
        return Calibration(rows=0, correlation=None, right_sign=None)
    predicted, realised = np.array(known, dtype=np.float64).T
    ranked = None
    if len(known) >= LEAST_ROWS:
        ranked = bootstrapped(rank_correlation, predicted, realised, rng=np.random.default_rng([seed, 43]))
    return Calibration(
        rows=len(known),
        correlation=ranked,
        right_sign=float((np.sign(predicted) == np.sign(realised)).mean()),
    )
