"""``foresift fleet simulate``: what a fleet would have uploaded of a pool, at which loss against hindsight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.app.fleet.device import DEVICE_SCORES
from foresift.app.models.opening import open_model, require_head
from foresift.app.passes.stored import PassOptions, predict_pool
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Values
from foresift.core.errors import LabelError, UnknownNameError, UsageError
from foresift.core.samples import Pool
from foresift.lineage.simulation import SimulatedDay, drifting_streams, simulate
from foresift.lineage.uploads import Quota
from foresift.scores import SCORES

WAYS = ("random", "fleet", "hindsight")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTrial:
    """What to simulate."""

    pool: str | Path
    model: str | Path
    score: str = "margin"
    devices: int = 5
    days: int = 5
    quota_per_day: int = 100
    seed: int = 0
    options: PassOptions = field(default_factory=PassOptions)

    def __post_init__(self) -> None:
        if SCORES.canonical(self.score) not in DEVICE_SCORES:
            raise UnknownNameError("score of a device", self.score, DEVICE_SCORES)
        if min(self.devices, self.days) < 1:
            raise UsageError("a fleet has at least one device and one day")


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOfChoosing:
    """One row of the comparison, over all devices and days."""

    way: str
    uploaded: int
    mean_score: float
    of_hindsight: float
    """Share of hindsight's rows that are among its own."""
    wrong: float | None
    """Share of uploaded frames that the model gets wrong; None without labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetComparison:
    """The fleet against random uploads and hindsight at equal bandwidth."""

    frames: int
    devices: int
    days: int
    quota_per_day: int
    score: str
    largest_deviation: float
    """Of a device's day from its budget, as a share of it; days with fewer frames than quota left out."""
    over_budget: int
    """Days of devices on which more was uploaded than allowed."""
    at_once: float
    """Share of the fleet's uploads that did not wait for the end of the day."""
    recovered: float
    """Of the gap between the mean scores of random and hindsight, the share that the fleet closes."""
    ways: tuple[WayOfChoosing, ...]
    shortest_day: int
    longest_day: int


def simulate_fleet(workspace: Workspace, trial: FleetTrial, *, stdin: Iterable[str] | None = None) -> FleetComparison:
    """Score a pool, play it to devices in drifting order of its classes, and compare.

    The order follows the pool's labels, where it has none the model's own classes. Near-duplicates
    are left in: the pool's images count as different scenes.

    Raises:
        UsageError: fewer frames than devices times days.
        LabelError: the pool's labels are other classes than the model's, which would be wrong on every one.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    model = open_model(workspace, trial.model)
    require_head(model, "a fleet")
    pool = open_pool(workspace, trial.pool, progress=trial.options.progress, stdin=stdin)
    labels = _labels(pool, model.generation.classes)
    predictions = predict_pool(workspace, pool, model, columns=("logits",), options=trial.options).predictions
    logits = predictions.column("logits")
    scores = np.asarray(DEVICE_SCORES[SCORES.canonical(trial.score)](logits), dtype=np.float64)
    guesses = np.asarray(logits).argmax(axis=1)
    names = np.array(model.generation.classes, dtype=np.str_)[guesses]
    truth = None if labels is None else labels[pool.rows_of(predictions.sample_ids)]
    rng = np.random.default_rng(trial.seed)
    codes = np.unique(names if truth is None else truth, return_inverse=True)[1]
    streams = drifting_streams(codes, devices=trial.devices, days=trial.days, rng=rng)
    outcomes = simulate(scores, streams, Quota(per_day=trial.quota_per_day), rng=rng)
    return _compared(trial, outcomes, scores, None if truth is None else names != truth)


def _labels(pool: Pool, classes: Sequence[str]) -> npt.NDArray[np.str_] | None:
    """(n,) class names; None where not every frame has one."""
    if not pool.labeled.all():
        return None
    names = np.array(pool.classes, dtype=np.str_)[pool.codes]
    if len(others := np.setdiff1d(names, classes)):
        raise LabelError(
            f"{pool.name}: labels {', '.join(others[:5])} are none of the model's classes ({', '.join(classes[:10])}); "
            "give frames of its classes, or without labels"
        )
    return names


def _compared(
    trial: FleetTrial, outcomes: Sequence[SimulatedDay], scores: Values, wrong: npt.NDArray[np.bool_] | None
) -> FleetComparison:
    chosen = {way: np.concatenate([getattr(day, way) for day in outcomes]) for way in WAYS}
    mean = {way: float(scores[rows].mean()) for way, rows in chosen.items()}
    gap = mean["hindsight"] - mean["random"]
    full = [day for day in outcomes if day.frames >= day.quota]
    frames = [day.frames for day in outcomes]
    return FleetComparison(
        frames=sum(frames),
        devices=trial.devices,
        days=trial.days,
        quota_per_day=trial.quota_per_day,
        score=trial.score,
        largest_deviation=max((abs(len(day.fleet) / day.quota - 1) for day in full), default=0.0),
        over_budget=sum(len(day.fleet) > day.quota for day in outcomes),
        at_once=sum(day.at_once for day in outcomes) / len(chosen["fleet"]),
        recovered=(mean["fleet"] - mean["random"]) / gap if gap else 1.0,
        ways=tuple(_way(way, chosen, mean, wrong) for way in WAYS),
        shortest_day=min(frames),
        longest_day=max(frames),
    )


def _way(
    way: str,
    chosen: dict[str, npt.NDArray[np.intp]],
    mean: dict[str, float],
    wrong: npt.NDArray[np.bool_] | None,
) -> WayOfChoosing:
    rows, best = chosen[way], chosen["hindsight"]
    return WayOfChoosing(
        way=way,
        uploaded=len(rows),
        mean_score=mean[way],
        of_hindsight=float(np.isin(best, rows).mean()),
        wrong=None if wrong is None else float(wrong[rows].mean()),
    )
