"""``foresift suitability``: whether one model should choose labels for another, before any is bought."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.generations.calibrating import remember
from foresift.app.generations.trainable import Codes, Trainable, codes_of, trainable
from foresift.app.models.opening import Model, open_model
from foresift.app.pools import open_pool, relabeled
from foresift.app.training.starting import names_generation
from foresift.app.workspace import Workspace
from foresift.core.arrays import Logits, Rows, Values
from foresift.core.errors import LabelError, UsageError
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Label, Pool
from foresift.kernels.softmax_head import stratified_folds
from foresift.kernels.topk import top_k
from foresift.lineage.calibration import Forecast
from foresift.lineage.suitability import LEAST, Scored, Suitability, findings, suitability
from foresift.scores.registry import SCORES

MOST_LABELS = 5_000
"""Labeled samples that are looked at, drawn at random where there are more."""
TOP_SHARE = 0.2
SECOND_SEED = 500_009


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitabilityRequest:
    """What to judge; names follow the command line."""

    surrogate: str
    """A generation, or an architecture."""
    deployment: str
    data: str | Path | None = None
    """Labeled images; None = those that the surrogate was trained on."""
    labels: Path | None = None
    score: str = "margin"
    budget: int | None = None
    """Largest scores that the overlap looks at; None = a fifth."""
    folds: int = 5
    pilots: int = 4
    epochs: int | None = None
    """In place of what each model's own recipe says."""
    seed: int = 0
    progress: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("pilots", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} must be {least} or more, got {getattr(self, name)}")

    @property
    def trainings(self) -> int:
        """How many models will be trained for the answer."""
        return 3 * self.folds + 2 * self.pilots + (not self.pilots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """What was found, and where it comes from."""

    found: Suitability
    sentences: list[str]
    surrogate: str
    deployment: str
    forecast: Forecast
    trainings: int
    notes: tuple[str, ...] = ()


def assess(workspace: Workspace, request: SuitabilityRequest) -> Assessed:
    """Train both models in folds on labels already owned, and say what that tells; the forecast is remembered.

    Raises:
        UsageError: a score that needs more than logits, models of different classes, too few labels.
        LabelError: no labels, or others than the models know.
        ModelError: no such generation.
    """
    if SCORES.get(request.score).needs != ("logits",):
        raise UsageError(f"suitability needs a score of logits alone, such as margin, not {request.score}")
    models = {name: _opened(workspace, name) for name in dict.fromkeys((request.surrogate, request.deployment))}
    pool = _labeled_pool(workspace, request, models[request.surrogate])
    _refuse_too_few(request, len(pool))
    classes = _classes(pool, models)
    changes: dict[str, Any] = {} if request.epochs is None else {"epochs": request.epochs}
    codes = codes_of(pool, classes)
    candidates = {
        name: trainable(workspace, name, model, pool, classes, changes=changes, progress=request.progress)
        for name, model in models.items()
    }
    a, b = candidates[request.surrogate], candidates[request.deployment]
    found = _judged(request, a, b, codes)
    forecast = Forecast(
        surrogate=a.name,
        deployment=b.name,
        score=request.score,
        predicted=found.usefulness.value,
        low=found.usefulness.low,
        high=found.usefulness.high,
        pilot=None if found.pilot is None else found.pilot.value,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    remember(workspace, forecast)
    return Assessed(
        found=found,
        sentences=findings(found, surrogate=a.name, deployment=b.name),
        surrogate=a.name,
        deployment=b.name,
        forecast=forecast,
        trainings=request.trainings,
        notes=pool.notes,
    )


def _refuse_too_few(request: SuitabilityRequest, m: int) -> None:
    """Before anything is trained."""
    if m < max(LEAST, 2 * request.folds):
        raise UsageError(f"{m} labeled images are too few for {request.folds} folds; label more, or give fewer --folds")
    if request.budget is not None and not 1 <= request.budget <= m:
        raise UsageError(f"--budget must be within 1 .. {m}, the labeled images that are scored, got {request.budget}")


def _judged(request: SuitabilityRequest, a: Trainable, b: Trainable, codes: Codes) -> Suitability:
    request.progress.start("training", request.trainings)
    folds = stratified_folds(codes, request.folds, np.random.default_rng([request.seed, 3]))
    mine = _out_of_fold(a, folds, request.seed, request.progress)
    again = _out_of_fold(a, folds, request.seed + SECOND_SEED, request.progress)
    theirs = _out_of_fold(b, folds, request.seed, request.progress)
    score, losses = SCORES.get(request.score), SCORES.get("loss")(theirs, codes)
    values = score(mine)
    pilots, fit = _rehearsed(request, values, b, codes)
    request.progress.done()
    return suitability(
        values,
        losses,
        Scored(surrogate=values, again=score(again), deployment=score(theirs)),
        budget=request.budget or max(1, round(TOP_SHARE * len(codes))),
        seed=request.seed,
        fit=fit,
        pilots=pilots,
        pilot_unit="accuracy",
    )


def _out_of_fold(one: Trainable, folds: Rows, seed: int, progress: Progress) -> Logits:
    """(m, c) logits of every labeled sample by a model that did not learn from it."""
    parts = {}
    for fold in range(int(folds.max()) + 1):
        parts[fold] = one.logits(np.flatnonzero(folds != fold), seed=seed)
        progress.advance(1)
    return np.stack([parts[int(fold)][row] for row, fold in enumerate(folds)])


def _rehearsed(
    request: SuitabilityRequest, values: Values, b: Trainable, codes: Codes
) -> tuple[list[tuple[float, float]], float]:
    """(chosen, random) accuracy of every pilot, and how well the deployment model fits what is chosen.

    Half of the labels are the pool of a rehearsal, of which the surrogate chooses half; the other half judges.
    """
    pilots, fits = [], []
    for pilot in range(request.pilots):
        order = np.random.default_rng([request.seed, pilot, 17]).permutation(len(codes))
        pool, judges = np.sort(order[: len(order) // 2]), order[len(order) // 2 :]
        take = len(pool) // 2
        arms = pool[top_k(values[pool], take)], order[:take]
        logits = [b.logits(np.sort(rows), seed=request.seed + pilot) for rows in arms]
        request.progress.advance(2)
        pilots.append(tuple(_accuracy(found, codes, judges) for found in logits))
        fits.append(_accuracy(logits[0], codes, arms[0]))
    if not fits:
        rows = np.sort(top_k(values, request.budget or max(1, round(TOP_SHARE * len(codes)))))
        fits.append(_accuracy(b.logits(rows, seed=request.seed), codes, rows))
    return [(chosen, random) for chosen, random in pilots], float(np.mean(fits))


def _accuracy(logits: Logits, codes: Codes, rows: Rows) -> float:
    return float((logits[rows].argmax(axis=1) == codes[rows]).mean())


def _opened(workspace: Workspace, spec: str) -> Model | None:
    """The generation, or None for an architecture."""
    return open_model(workspace, spec) if names_generation(spec) else None


def _labeled_pool(workspace: Workspace, request: SuitabilityRequest, surrogate: Model | None) -> Pool:
    """The labeled samples, at most ``MOST_LABELS`` of them."""
    data = request.data
    if data is None:
        known = {} if surrogate is None else surrogate.generation.data
        data = str(known.get("pool", ""))
        if not data:
            raise UsageError(f"give labeled images with --data: {request.surrogate} does not say what it learned from")
    opened = open_pool(workspace, data, progress=request.progress)
    pool = relabeled(opened, request.labels)
    if request.data is None and request.labels is None and surrogate is not None:
        pool = _as_learned(workspace, opened, surrogate.generation.id)
    some = pool.take(pool.labeled)
    if not len(some):
        raise LabelError(f"{pool.name} has no labels: give class folders, a manifest with labels, or --labels FILE")
    if len(some) <= MOST_LABELS:
        return some
    drawn = np.sort(np.random.default_rng([request.seed, 1]).permutation(len(some))[:MOST_LABELS])
    return some.take(drawn)


def _as_learned(workspace: Workspace, pool: Pool, generation: str) -> Pool:
    """The pool with the labels that a generation learned from; its own where they were not kept."""
    told = {row["id"]: row["label"] for row in workspace.descents.labels(generation)}
    if not told:
        return pool
    labels = [Label(sample_id=one, value=told[str(one)]) for one in pool.ids.tolist() if str(one) in told]
    if not labels:
        raise LabelError(f"no image that {generation[:12]} learned from is in {pool.name} any more; give --data")
    return pool.without_labels().with_labels(labels)


def _classes(pool: Pool, models: dict[str, Model | None]) -> tuple[str, ...]:
    """The classes of the generations, which must agree; else those of the labels."""
    known = {name: model.generation.classes for name, model in models.items() if model and model.generation.has_head}
    if len(set(known.values())) > 1:
        (one, first), (other, second) = known.items()
        raise UsageError(
            f"{one} knows the classes {', '.join(first[:5])}, {other} knows {', '.join(second[:5])}; a surrogate "
            "must have the classes of the deployment model"
        )
    used = tuple(pool.classes[code] for code in np.unique(pool.codes).tolist())
    classes = next(iter(known.values()), used)
    if extra := [name for name in used if name not in classes]:
        raise LabelError(f"labels {', '.join(extra[:5])} are none of the models' classes ({', '.join(classes[:10])})")
    if len(classes) < 2:
        raise LabelError(f"suitability needs labels of at least 2 classes, {pool.name} has {len(classes)}")
    return classes
