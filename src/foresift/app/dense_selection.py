"""Selection by segmentation models: whole images by an aggregate of pixel scores, or patches as units of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.dense import DenseRows, dense_rows
from foresift.app.dense_models import DenseModel, is_dense, open_dense
from foresift.app.dense_units import of_score, patch_pool, patches, pixels_of, sized, unit_values
from foresift.app.guarding import check_groups, with_groups_of, with_held_out
from foresift.app.passes import PassOptions, PassResult, refuse_broken
from foresift.app.pool_selection import Job, Request, Selected, checked, describe, finish, select_from_pool
from foresift.app.pools import LabeledPart, labeled_part, open_pool
from foresift.app.selecting import check_budget
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, LabelError, MissingColumnError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.core.ranges import check_one_of
from foresift.core.regions import split_id
from foresift.core.registry import parse_spec
from foresift.core.samples import Pool, Quarantined
from foresift.engines import REFERENCE
from foresift.inference.dense_columns import PatchEmbeddings, PatchGrid
from foresift.inference.tuning import Choice
from foresift.kernels.patch_grid import check_patch
from foresift.scores.dense import PIXEL_SCORES
from foresift.scores.registry import SCORES
from foresift.selection.candidates import LABEL_NEEDS, model_columns
from foresift.selection.registry import split_stages
from foresift.sources.labels import read_labels
from foresift.strategies import Strategy, parse
from foresift.strategies.aggregate import AGGREGATES, Aggregate

UNITS = ("image", "patch")
MADE = ("patch-grid", "embeddings")
"""Columns that a segmentation model gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """What a request asks of pixels; all of it left alone means none of it matters."""

    unit: str = "image"
    patch: int = 256
    """Side of the units in pixels, where they are patches."""
    aggregate: str | None = None
    """``mean``, ``max`` or ``top-patches:patch=64,top=4``: how scores of pixels become one of a unit."""
    budget_pixels: int | None = None
    """In place of a number of patches: so many pixels."""

    def __post_init__(self) -> None:
        check_one_of(UNITS, unit=self.unit)
        check_patch(self.patch)
        if self.aggregate is not None:
            _aggregate(self.aggregate)
        if self.budget_pixels is not None and (self.unit != "patch" or self.budget_pixels < 1):
            raise UsageError("--budget-pixels takes 1 pixel or more, together with --unit patch")

    @property
    def asked(self) -> bool:
        """Whether a classifier would not do."""
        return self.unit != "image" or self.aggregate is not None


def select_images(
    workspace: Workspace,
    spec: str | Path,
    request: Request,
    dense: Dense,
    *,
    model: str | Path | Sequence[str | Path] | None = None,
    stdin: Iterable[str] | None = None,
) -> Selected:
    """Choose from a pool by whatever kind of model is given.

    Raises:
        UsageError: scores of pixels or patches are asked of no model.
        ForesiftError: as :func:`foresift.app.pool_selection.select_from_pool`.
    """
    models = [model] if isinstance(model, str | Path) else list(model or ())
    if segmenters := [one for one in models if is_dense(workspace, one)]:
        if len(models) > 1 or request.checkpoints or request.draws is not None:
            raise UsageError(f"{segmenters[0]} is a segmentation model; members of an ensemble are classifiers")
        return select_dense(workspace, spec, request, dense, model=open_dense(workspace, segmenters[0]), stdin=stdin)
    if dense.unit == "patch" and not models:
        return _select_unseen(workspace, spec, request, dense, stdin)
    if dense.asked:
        what = "--unit patch" if dense.unit == "patch" else "--aggregate"
        given = f"{models[0]} is a classifier" if models else "none was given"
        raise UsageError(f"{what} needs a segmentation model (--model DIR); {given}")
    return select_from_pool(workspace, spec, request, model=model, stdin=stdin)


def select_dense(
    workspace: Workspace,
    spec: str | Path,
    request: Request,
    dense: Dense,
    *,
    model: DenseModel,
    stdin: Iterable[str] | None = None,
) -> Selected:
    """Choose images or patches by a segmentation model; grids come from the store, or from a pass that fills it.

    Raises:
        MissingColumnError: the strategy needs what such a model does not give.
        BudgetError: more than there is.
        ForesiftError: as :func:`foresift.app.dense.dense_rows`.
    """
    request = replace(request, strategy=by_pixels(request.strategy, dense.aggregate))
    strategy, needs = _asked(request, dense)
    _check_needs(strategy, model_columns(needs))
    pool = _opened(workspace, spec, request, needs, stdin)
    grid = dense_rows(workspace, pool, model, PatchGrid(), options=request.options)
    units, notes = _units(grid, dense)
    units = replace(units, notes=(*units.notes, *notes, *grid.notes))
    predictions, results = _columns(workspace, model, units, grid, strategy, needs, dense, request.options)
    choice = Choice(engine=REFERENCE, batch=1, reason="images in their own size")
    made_by = {"model": _record(model), "engine": {"engine": choice.engine, "batch": choice.batch}}
    job = _job(workspace, units, strategy, request)
    selected = _finished(job, predictions, needs, dense, quarantined=grid.quarantined, made_by=made_by)
    result = PassResult(
        predictions=predictions, quarantined=grid.quarantined, report=_merged(results), choice=choice, notes=grid.notes
    )
    return replace(selected, result=result)


def _select_unseen(
    workspace: Workspace, spec: str | Path, request: Request, dense: Dense, stdin: Iterable[str] | None
) -> Selected:
    """Patches of a pool that no model has looked at: each image is decoded once, for its size.

    Raises:
        UsageError: the strategy needs what a model makes.
    """
    strategy, needs = _asked(request, dense)
    if dense.aggregate is not None:
        raise UsageError("--unit patch and --aggregate need a segmentation model (--model DIR); none was given")
    if columns := model_columns(needs):
        what = f"--unit patch and strategy {strategy.name} with {' and '.join(columns)}"
        raise UsageError(f"{what} need a segmentation model (--model DIR); none was given")
    pool = _opened(workspace, spec, request, needs, stdin)
    seen, sizes = sized(pool, progress=request.options.progress)
    if request.options.strict and seen.quarantined:
        refuse_broken(seen.quarantined[0].uri, seen.quarantined[0].reason)
    units = patch_pool(seen, sizes, dense.patch)
    predictions = Predictions(sample_ids=units.ids, uris=units.uris)
    predictions = with_groups_of(units, predictions) if "groups" in needs else predictions
    job = _job(workspace, units, strategy, request)
    return _finished(job, predictions, needs, dense, quarantined=seen.quarantined, made_by={})


def _asked(request: Request, dense: Dense) -> tuple[Strategy, tuple[str, ...]]:
    """The strategy, and everything that it and the guards read; what can be refused at once was refused."""
    if dense.budget_pixels is not None:
        request = replace(request, budget=max(1, dense.budget_pixels // dense.patch**2))
    strategy, guards = checked(request), request.limits.guards()
    if request.limits.reads_images:
        raise UsageError("beside a segmentation model or patches, --validation is a predictions file (.parquet)")
    return strategy, tuple(dict.fromkeys((*strategy.needs, *guards.needs)))


def _opened(
    workspace: Workspace, spec: str | Path, request: Request, needs: tuple[str, ...], stdin: Iterable[str] | None
) -> Pool:
    pool = open_pool(workspace, spec, progress=request.options.progress, stdin=stdin)
    if "groups" in needs:
        check_groups(pool)
    return pool


def _job(workspace: Workspace, units: Pool, strategy: Strategy, request: Request) -> Job:
    labeled = labeled_part(units, None, own_labels=False)
    if request.labeled is not None:
        labeled = labeled_units(units, request.labeled)
    units = replace(units, notes=(*units.notes, *labeled.notes))
    guards = request.limits.guards()
    held_out = with_held_out(guards, request.limits, units, workspace=workspace, model=None, options=request.options)
    return Job(workspace, units, strategy, labeled, request, held_out)


def _finished(
    job: Job,
    predictions: Predictions,
    needs: tuple[str, ...],
    dense: Dense,
    *,
    quarantined: tuple[Quarantined, ...],
    made_by: dict[str, Any],
) -> Selected:
    """The selection within its budget of units or of pixels, its receipt kept."""
    request = job.request
    if dense.budget_pixels is not None:
        request = replace(request, budget=_within_pixels(job, predictions, dense.budget_pixels))
    left = len(predictions) - int(np.isin(job.labeled.ids, predictions.sample_ids).sum())
    check_budget(request.budget, left, allow_short=request.allow_short)
    names = [name for name in needs if name not in LABEL_NEEDS]
    unit = {"unit": dense.unit, **({"patch": dense.patch} if dense.unit == "patch" else {})}
    described = {**describe(job.pool, quarantined, predictions, names), **unit}
    selected = finish(replace(job, request=request), predictions, described, **made_by)
    return replace(selected, quarantined=quarantined)


def by_pixels(spec: str, aggregate: str | None) -> str:
    """The strategy with every score of logits in it replaced by an aggregate of that score over pixels.

    Raises:
        UsageError: ``aggregate`` is given and there is nothing to aggregate.
    """
    stages = [_stage_by_pixels(stage, aggregate or "mean") for stage in split_stages(spec)]
    if aggregate is not None and stages == split_stages(spec):
        raise UsageError(f"--aggregate goes with a score of pixels ({', '.join(PIXEL_SCORES)}), not with {spec}")
    return "+".join(stages)


def _stage_by_pixels(stage: str, aggregate: str) -> str:
    name, _, pairs = stage.partition(":")
    if name not in SCORES or SCORES.canonical(name) not in PIXEL_SCORES:
        return stage
    chosen = _aggregate(aggregate)
    parameters = f"score={SCORES.canonical(name)},by={chosen.by},patch={chosen.patch},top={chosen.top}"
    return f"{Aggregate.name}:{parameters}" + (f",{pairs}" if pairs else "")


def _aggregate(text: str) -> Aggregate:
    """``mean``, ``max`` or ``top-patches:patch=64,top=4`` as the strategy that ranks by it."""
    by, parameters = parse_spec(text)
    if by not in AGGREGATES or (parameters and by != "top-patches") or set(parameters) - {"patch", "top"}:
        raise UsageError(f"--aggregate must be mean, max or top-patches:patch=64,top=4, got {text!r}")
    pairs = "".join(f",{key}={value}" for key, value in parameters.items())
    parsed = parse(f"{Aggregate.name}:by={by}{pairs}")
    assert isinstance(parsed, Aggregate)  # noqa: S101 - it is spelled so
    return parsed


def _check_needs(strategy: Strategy, columns: list[str]) -> None:
    """Refuse what needs a column that no segmentation model gives, before an image is read.

    Raises:
        MissingColumnError: names it.
    """
    for name in columns:
        if name not in MADE:
            raise MissingColumnError(
                f"strategy {strategy.name} needs {name}, which a segmentation model does not give; take a score of"
                f" pixels ({', '.join(PIXEL_SCORES)}), a strategy that needs embeddings, or a chain of both"
            )


def _units(grid: DenseRows, dense: Dense) -> tuple[Pool, tuple[str, ...]]:
    """The pool that is chosen from, and what to know of it."""
    if dense.unit == "image":
        return grid.pool.without_labels() if grid.pool.classes else grid.pool, ()
    units, dropped = patches(grid.store, grid.producer, grid.pool, grid.sizes, dense.patch)
    few = f"{dropped} patches of which less than a quarter is valid were left out"
    return units, ((few,) if dropped else ())


def labeled_units(units: Pool, file: Path) -> LabeledPart:
    """The units that a file names, or whose image it names.

    Raises:
        LabelError: it names none.
    """
    table = read_labels(file)
    images = np.array([split_id(sample)[0] for sample in units.ids.tolist()], dtype=np.str_)
    ids = np.array([table.ids[row] for row in table.finished if table.ids[row]], dtype=np.str_)
    uris = np.array([table.uris[row] for row in table.finished if not table.ids[row]], dtype=np.str_)
    named = np.isin(units.ids.astype(np.str_), ids) | np.isin(images, ids) | np.isin(units.uris, uris)
    if not named.any():
        raise LabelError(f"{file}: not one of its {len(table):,} rows names a sample of pool {units.name}")
    known = np.concatenate([units.ids.astype(np.str_), images])
    skipped = int((~np.isin(ids, known)).sum() + (~np.isin(uris, units.uris)).sum())
    notes = (f"{skipped} rows of {file} skipped: they name nothing among the units of this pool",) if skipped else ()
    found = units.ids[named]
    return LabeledPart(found, np.zeros(len(found), dtype="<U1"), notes)


def _columns(
    workspace: Workspace,
    model: DenseModel,
    units: Pool,
    grid: DenseRows,
    strategy: Strategy,
    needs: tuple[str, ...],
    dense: Dense,
    options: PassOptions,
) -> tuple[Predictions, list[DenseRows]]:
    """What the strategy and the guards read, of every unit."""
    columns, results = {}, [grid]
    if "patch-grid" in needs:
        producer = of_score(grid.producer, str(strategy.parameters_for("patch-grid")["score"]))
        values = unit_values(grid.store, producer, units.ids, units.digests)
        columns["patch-grid"] = Column(values=values, producer=producer)
    if "embeddings" in needs:
        wanted = PatchEmbeddings(patch=dense.patch if dense.unit == "patch" else 0)
        rows = dense_rows(workspace, grid.pool, model, wanted, options=options)
        values = unit_values(rows.store, rows.producer, units.ids, units.digests)
        columns["embeddings"] = Column(values=values, producer=rows.producer)
        results.append(rows)
    predictions = Predictions(sample_ids=units.ids, columns=columns, uris=units.uris)
    return (with_groups_of(units, predictions) if "groups" in needs else predictions), results


def _within_pixels(job: Job, predictions: Predictions, pixels: int) -> int:
    """How many patches the strategy may take so that their own pixels are no more than ``pixels``.

    Where the first picks do not depend on the budget, the longest row of picks that fits is found; else as many as
    fit whatever their sizes are.

    Raises:
        BudgetError: not even the first one fits.
    """
    own = pixels_of(predictions.sample_ids)
    candidates = len(predictions) - int(np.isin(job.labeled.ids, predictions.sample_ids).sum())
    certain = int(min(candidates, pixels // int(own.max())))
    most = int(min(candidates, pixels // int(own.min())))
    guarded = bool(job.held_out.guards.needs) or job.request.control or job.held_out.described
    if not job.strategy.prefix or guarded or most == certain:
        return _at_least_one(certain, pixels)
    picked = job.strategy.select(predictions, budget=most, labeled=job.labeled.ids, seed=job.request.seed).sample_ids
    return _at_least_one(int((np.cumsum(pixels_of(picked)) <= pixels).sum()), pixels)


def _at_least_one(count: int, pixels: int) -> int:
    if count < 1:
        raise BudgetError(
            f"--budget-pixels {pixels} is less than the first patch takes; give more, or a smaller --patch"
        )
    return count


def _record(model: DenseModel) -> dict[str, Any]:
    return {
        "id": model.generation.id,
        "folder": str(model.folder.absolute()),
        "classes": list(model.generation.classes),
    }


def _merged(results: list[DenseRows]) -> Any:
    report = replace(results[0].report)
    for rows in results[1:]:
        report.inferred += rows.report.inferred
        report.batches += rows.report.batches
        report.shards += rows.report.shards
    return report
