"""Selection by segmentation models: whole images by an aggregate of pixel scores, or patches as units of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.models.opening import Model, open_model
from foresift.app.passes.stored import PassOptions, PassResult, refuse_broken
from foresift.app.pixels.auto import Situation, Verdict, is_auto, judged
from foresift.app.pixels.models import CropModel, DenseModel, is_dense, open_dense
from foresift.app.pixels.passes import DenseRows, dense_rows
from foresift.app.pixels.predicted_loss import COLUMN as LOSS
from foresift.app.pixels.predicted_loss import predicted_losses, refuse_patches
from foresift.app.pixels.request import LOW_LEVEL, Dense
from foresift.app.pixels.strategies import by_pixels
from foresift.app.pixels.units import labeled_units, of_score, patch_pool, patches, pixels_of, sized, unit_values
from foresift.app.pools import LabeledPart, labeled_part, open_pool, without_masks
from foresift.app.selecting.arrays import check_budget
from foresift.app.selecting.guarding import check_groups, with_groups_of, with_held_out
from foresift.app.selecting.pool_selection import Job, checked, describe, finish, select_from_pool
from foresift.app.selecting.request import Request, Selected
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, MissingColumnError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.core.samples import Pool, Quarantined
from foresift.engines import REFERENCE
from foresift.inference.crop_embeddings import CropEmbeddings
from foresift.inference.dense_columns import LowLevelEmbeddings, PatchEmbeddings, PatchGrid
from foresift.inference.tuning import Choice
from foresift.scores.dense import PIXEL_SCORES
from foresift.selection.candidates import LABEL_NEEDS, model_columns
from foresift.strategies import Strategy, parse

MADE = ("patch-grid", "embeddings", LOSS)
"""Columns that a segmentation model gives, the last one with the module that predicts its loss, for whole images."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What runs, everything that it and the guards read, and what ``auto`` said of it."""

    strategy: Strategy
    needs: tuple[str, ...]
    verdict: Verdict | None = None


def select_images(
    workspace: Workspace,
    spec: str | Path,
    request: Request,
    dense: Dense,
    *,
    model: str | Path | Sequence[str | Path] | None = None,
    stdin: Iterable[str] | None = None,
) -> Selected:
    """Choose from a pool by whatever kind of model is given; of a root of images and masks, the images are the pool.

    Raises:
        UsageError: scores of pixels are asked of no model, or of a classifier.
        ForesiftError: as :func:`foresift.app.selecting.pool_selection.select_from_pool`.
    """
    spec, notes = without_masks(spec)
    models = [model] if isinstance(model, str | Path) else list(model or ())
    if segmenters := [one for one in models if is_dense(workspace, one)]:
        if len(models) > 1 or request.checkpoints or request.early_stop or request.draws is not None:
            raise UsageError(f"{segmenters[0]} is a segmentation model; members of an ensemble are classifiers")
        opened = open_dense(workspace, segmenters[0])
        selected = select_dense(workspace, spec, request, dense, model=opened, stdin=stdin)
    elif request.early_stop and dense.asked:
        raise UsageError(f"{dense.needing} a segmentation model; an early stop leaves out classifiers of an ensemble")
    elif dense.unit == "patch" and len(models) < 2 and dense.aggregate is None and dense.embeddings_from is None:
        backbone = open_model(workspace, models[0]) if models else None
        selected = _select_patches(workspace, spec, request, dense, backbone, stdin)
    elif dense.asked:
        given = f"{models[0]} is a classifier" if models else "none was given"
        raise UsageError(f"{dense.needing} a segmentation model (--model DIR); {given}")
    else:
        selected = select_from_pool(workspace, spec, request, model=model, stdin=stdin)
    return replace(selected, notes=(*notes, *selected.notes))


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
        ForesiftError: as :func:`foresift.app.pixels.passes.dense_rows`.
    """
    plan = _typed(request, dense)
    if not is_auto(request.strategy):
        plan = _over_pixels(request, dense, model, request.strategy)
        if dense.embeddings_from is not None and "embeddings" not in plan.needs:
            raise UsageError(f"--embeddings-from has no part in strategy {request.strategy}, which reads no embeddings")
    own = dense.embeddings_from in (None, LOW_LEVEL)
    backbone = None if own else open_model(workspace, str(dense.embeddings_from))
    pool = _opened(workspace, spec, request, plan.needs, stdin)
    grid = _seen(workspace, pool, model, plan, request.options)
    units, notes = _units(grid, dense)
    units = replace(units, notes=(*units.notes, *notes, *grid.notes))
    labeled = _labeled(units, request)
    if is_auto(request.strategy):
        by_patch = dense.unit == "patch"
        now = _patches_labeled(labeled, grid.sizes, scored=True) if by_patch else _images_labeled(labeled, grid)
        verdict = judged(request.strategy, now, budget=request.budget)
        aggregate = dense.aggregate if verdict.uncertain else None
        plan = _over_pixels(request, replace(dense, aggregate=aggregate), model, verdict.ran, verdict)
    predictions, results = _columns(workspace, model, units, grid, plan, dense, backbone, request.options)
    choice = Choice(engine=REFERENCE, batch=1, reason="images in their own size")
    made_by = {"model": _record(model, backbone), "engine": {"engine": choice.engine, "batch": choice.batch}}
    job = _job(workspace, units, plan.strategy, labeled, request)
    selected = _finished(job, predictions, plan, dense, quarantined=grid.quarantined, made_by=made_by)
    result = PassResult(
        predictions=predictions, quarantined=grid.quarantined, report=_merged(results), choice=choice, notes=grid.notes
    )
    return replace(selected, result=result)


def check_strategy(spec: str) -> None:
    """Refuse a strategy that needs what no segmentation model gives.

    Raises:
        MissingColumnError: names it.
    """
    if not is_auto(spec):
        strategy = parse(by_pixels(spec, None))
        _check_needs(strategy, model_columns(strategy.needs))


def _select_patches(
    workspace: Workspace,
    spec: str | Path,
    request: Request,
    dense: Dense,
    backbone: Model | None,
    stdin: Iterable[str] | None,
) -> Selected:
    """Patches before there is a segmentation model: by what a backbone says of each, or by none at all.

    Without a backbone each image is decoded once, for its size.

    Raises:
        UsageError: the strategy needs what such a model does not give.
    """
    plan = _typed(request, dense)
    wanted = model_columns(plan.needs)
    if wanted and (backbone is None or wanted != ["embeddings"]):
        what = f"--unit patch and strategy {plan.strategy.name} with {' and '.join(wanted)}"
        given = "none was given" if backbone is None else f"of patches, {backbone.folder} gives embeddings only"
        kind = " or a backbone" if wanted == ["embeddings"] else ""
        raise UsageError(f"{what} need a segmentation model{kind} (--model DIR); {given}")
    pool = _opened(workspace, spec, request, plan.needs, stdin)
    rows = None
    if wanted and backbone is not None:
        rows = _embedded(workspace, backbone, pool, dense, request.options)
        seen, sizes, quarantined = rows.pool, rows.sizes, rows.quarantined
    else:
        seen, sizes = sized(pool, progress=request.options.progress)
        quarantined = seen.quarantined
    if request.options.strict and quarantined:
        refuse_broken(quarantined[0].uri, quarantined[0].reason)
    units = patch_pool(seen, sizes, dense.side)
    labeled = _labeled(units, request)
    if is_auto(request.strategy):
        now = _patches_labeled(labeled, sizes, scored=False)
        verdict = judged(request.strategy, now, budget=request.budget)
        plan = replace(_typed(replace(request, strategy=verdict.ran), dense), verdict=verdict)
    columns = {} if rows is None else {"embeddings": _column(rows, units)}
    predictions = Predictions(sample_ids=units.ids, columns=columns, uris=units.uris)
    predictions = with_groups_of(units, predictions) if "groups" in plan.needs else predictions
    made_by: dict[str, Any] = {}
    if rows is not None and backbone is not None:
        made_by = {"model": _named(backbone), "engine": {"engine": REFERENCE, "batch": 1}}
    job = _job(workspace, units, plan.strategy, labeled, request)
    return _finished(job, predictions, plan, dense, quarantined=quarantined, made_by=made_by)


def _seen(workspace: Workspace, pool: Pool, model: DenseModel, plan: _Plan, options: PassOptions) -> DenseRows:
    """The first pass, which also says which images are usable: predicted losses where these do without grids."""
    if LOSS in plan.needs and "patch-grid" not in plan.needs:
        return predicted_losses(workspace, pool, model, options=options)
    return dense_rows(workspace, pool, model, PatchGrid(), options=options)


def _typed(request: Request, dense: Dense) -> _Plan:
    """The strategy as it was typed; what can be refused at once was refused, in the words that were typed."""
    if dense.budget_pixels is not None:
        request = replace(request, budget=max(1, dense.budget_pixels // dense.side**2))
    strategy, guards = checked(request), request.limits.guards()
    if request.limits.reads_images:
        raise UsageError("beside a segmentation model or patches, --validation is a predictions file (.parquet)")
    refuse_patches(strategy, dense)
    return _Plan(strategy, tuple(dict.fromkeys((*strategy.needs, *guards.needs))))


def _over_pixels(
    request: Request, dense: Dense, model: DenseModel, strategy: str, verdict: Verdict | None = None
) -> _Plan:
    """The strategy over what a segmentation model gives.

    Raises:
        MissingColumnError: it needs something else.
    """
    _typed(replace(request, strategy=strategy), dense)
    spelled = by_pixels(strategy, dense.aggregate, classes=len(model.generation.classes))
    plan = _typed(replace(request, strategy=spelled), dense)
    _check_needs(plan.strategy, model_columns(plan.needs))
    if LOSS in plan.needs:
        model.generation.loss_prediction()
    return replace(plan, verdict=verdict)


def _opened(
    workspace: Workspace, spec: str | Path, request: Request, needs: tuple[str, ...], stdin: Iterable[str] | None
) -> Pool:
    pool = open_pool(workspace, spec, progress=request.options.progress, stdin=stdin)
    if "groups" in needs:
        check_groups(pool)
    return pool


def _labeled(units: Pool, request: Request) -> LabeledPart:
    if request.labeled is None:
        return labeled_part(units, None, own_labels=False)
    return labeled_units(units, request.labeled)


def _images_labeled(labeled: LabeledPart, grid: DenseRows) -> Situation:
    areas = np.prod(grid.sizes.astype(np.int64), axis=1)
    known = np.isin(grid.pool.ids, labeled.ids)
    return Situation(labeled=len(labeled.ids), images=float(areas[known].sum() / areas.mean()), scored=True)


def _patches_labeled(labeled: LabeledPart, sizes: Any, *, scored: bool) -> Situation:
    mean = float(np.prod(sizes.astype(np.int64), axis=1).mean())
    pixels = int(pixels_of(labeled.ids).sum()) if len(labeled.ids) else 0
    return Situation(labeled=len(labeled.ids), images=pixels / mean, scored=scored)


def _job(workspace: Workspace, units: Pool, strategy: Strategy, labeled: LabeledPart, request: Request) -> Job:
    units = replace(units, notes=(*units.notes, *labeled.notes))
    guards = request.limits.guards()
    held_out = with_held_out(guards, request.limits, units, workspace=workspace, model=None, options=request.options)
    return Job(workspace, units, strategy, labeled, request, held_out)


def _finished(
    job: Job,
    predictions: Predictions,
    plan: _Plan,
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
    names = [name for name in plan.needs if name not in LABEL_NEEDS]
    described = describe(job.pool, quarantined, predictions, names)
    described["unit"] = dense.unit
    if dense.unit == "patch":
        described["patch"] = dense.side
    if plan.verdict is not None:
        described["auto"] = {"ran": plan.verdict.ran, "why": plan.verdict.why}
    selected = finish(replace(job, request=request), predictions, described, **made_by)
    return replace(selected, quarantined=quarantined)


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
    units, dropped = patches(grid.store, grid.producer, grid.pool, grid.sizes, dense.side)
    few = f"{dropped} patches of which less than a quarter is valid were left out"
    return units, ((few,) if dropped else ())


def _columns(
    workspace: Workspace,
    model: DenseModel,
    units: Pool,
    grid: DenseRows,
    plan: _Plan,
    dense: Dense,
    backbone: Model | None,
    options: PassOptions,
) -> tuple[Predictions, list[DenseRows]]:
    """What the strategy and the guards read, of every unit."""
    columns, results = {}, [grid]
    if "patch-grid" in plan.needs:
        producer = of_score(grid.producer, str(plan.strategy.parameters_for("patch-grid")["score"]))
        values = unit_values(grid.store, producer, units.ids, units.digests)
        columns["patch-grid"] = Column(values=values, producer=producer)
    if "embeddings" in plan.needs:
        if backbone is None:
            column = LowLevelEmbeddings if dense.embeddings_from == LOW_LEVEL else PatchEmbeddings
            rows = dense_rows(workspace, grid.pool, model, column(patch=dense.embedded_side), options=options)
        else:
            rows = _embedded(workspace, backbone, grid.pool, dense, options)
        columns["embeddings"] = _column(rows, units)
        results.append(rows)
    if LOSS in plan.needs:
        rows = predicted_losses(workspace, grid.pool, model, options=options)
        columns[LOSS] = _column(rows, units)
        results.append(rows)
    predictions = Predictions(sample_ids=units.ids, columns=columns, uris=units.uris)
    return (with_groups_of(units, predictions) if "groups" in plan.needs else predictions), results


def _embedded(workspace: Workspace, backbone: Model, pool: Pool, dense: Dense, options: PassOptions) -> DenseRows:
    """Embeddings of every image, or of its patches one by one."""
    model = CropModel(model=replace(backbone, backbone_only=True))
    return dense_rows(workspace, pool, model, CropEmbeddings(patch=dense.embedded_side), options=options)


def _column(rows: DenseRows, units: Pool) -> Column:
    values = unit_values(rows.store, rows.producer, units.ids, units.digests)
    return Column(values=values, producer=rows.producer)


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


def _record(model: DenseModel, backbone: Model | None) -> dict[str, Any]:
    return model.described if backbone is None else {**model.described, "embeddings": _named(backbone)}


def _named(backbone: Model) -> dict[str, Any]:
    return {"id": backbone.generation.id, "folder": str(backbone.folder.absolute())}


def _merged(results: list[DenseRows]) -> Any:
    report = replace(results[0].report)
    for rows in results[1:]:
        report.inferred += rows.report.inferred
        report.batches += rows.report.batches
        report.shards += rows.report.shards
    return report
