"""``foresift select``: what to label next, from a pool and a model or from a predictions file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.generations.origins import keep_picks
from foresift.app.models.engine_choice import ScoreInUse
from foresift.app.models.opening import Model
from foresift.app.passes.ahead import looking_ahead
from foresift.app.passes.columns import check_model, summed
from foresift.app.passes.committee import check_plan, predict_models
from foresift.app.passes.early_stop import Heard, StableOrder, check_rule, hear_until_stable
from foresift.app.passes.ensembles import is_ensemble, open_members
from foresift.app.passes.fitted import fitted_passes, keep_in, with_fitted
from foresift.app.passes.stored import PassOptions
from foresift.app.pools import LabeledPart, labeled_part, open_pool
from foresift.app.selecting.arrays import check_budget
from foresift.app.selecting.class_codes import Codes, label_codes, truth_codes
from foresift.app.selecting.guarding import HeldOut, check_groups, with_groups_of, with_held_out
from foresift.app.selecting.receipts import keep_receipt
from foresift.app.selecting.request import Request, Selected
from foresift.app.selecting.unseen import unseen, without_broken_picks
from foresift.app.workspace import Workspace
from foresift.core.arrays import Ids
from foresift.core.errors import BudgetError, DataError, EmptyPoolError, QuarantineError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.core.regions import Region
from foresift.core.samples import UNLABELED, Pool, Quarantined
from foresift.scores import SCORES
from foresift.selection.candidates import LABEL_NEEDS, model_columns
from foresift.selection.control import checked_share
from foresift.sources.labels import read_labels
from foresift.stores.files import write_atomically, write_json
from foresift.stores.pools import Snapshot, write_snapshot
from foresift.stores.tables import check_suffix, read_predictions, write_rows
from foresift.strategies import Strategy, parse

ROW_COLUMNS = ("rank", "id", "uri", "score", "arm", "label")


def row_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns of a selection file: with those of the rectangle where regions were chosen."""
    return (*ROW_COLUMNS[:-1], *Region._fields, "label") if rows and "left" in rows[0] else ROW_COLUMNS


def select_from_pool(
    workspace: Workspace,
    spec: str | Path,
    request: Request,
    *,
    model: str | Path | Sequence[str | Path] | None = None,
    stdin: Iterable[str] | None = None,
) -> Selected:
    """Choose from a pool of images; scores come from the store, or from a pass that fills it.

    A strategy that needs no column reads no image of a pool with its own ids.

    Args:
        model: a generation folder or id, or an ensemble; several are the members of one.
    Raises:
        UsageError: the strategy needs a model and none is given; budget out of range; models that are no ensemble.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    strategy, guards = checked(request), request.limits.guards()
    needs = (*strategy.needs, *guards.needs)
    columns = model_columns(needs)
    specs = [model] if isinstance(model, str | Path) else list(model or ())
    if columns and not specs:
        asks = f"strategy {strategy.name}" if model_columns(strategy.needs) else "this guard"
        raise UsageError(f"{asks} needs {' and '.join(columns)}: give the model with --model DIR")
    members = bool(request.checkpoints) or len(specs) > 1 or any(map(is_ensemble, specs))
    todo = check_plan(strategy, members=members, draws=request.draws, also=model_columns(guards.needs))
    rule = check_rule(request.early_stop, strategy, members=members)
    models = open_members(workspace, specs, checkpoints=request.checkpoints) if columns else []
    if members and len(models) < 2:
        raise UsageError("one member agrees with itself about everything: give two models or checkpoints at the least")
    for opened in models:
        check_model(todo, opened, f"strategy {strategy.name}" if model_columns(strategy.needs) else "this guard")
    need_digests = bool(columns) or request.limits.reads_images
    asked = replace(request.options, score=ScoreInUse(name=_score_in_use(strategy)))
    with looking_ahead(workspace, models if todo.forward else [], asked, budget=request.budget) as seen:
        pool = open_pool(
            workspace, spec, need_digests=need_digests, progress=request.options.progress, stdin=stdin, seen=seen
        )
    if "groups" in needs:
        check_groups(pool)
    labeled = labeled_part(pool, request.labeled, own_labels="truth" not in strategy.needs)
    pool = replace(pool, notes=(*pool.notes, *labeled.notes))
    check_budget(request.budget, len(pool) - len(labeled.ids), allow_short=request.allow_short)
    first = models[0] if models else None
    held_out = with_held_out(guards, request.limits, pool, workspace=workspace, model=first, options=request.options)
    job = Job(workspace, pool, strategy, labeled, request, held_out)
    selected = _select_predicted(job, models, rule) if models else _select_unseen(job)
    if seen is None or selected.result is None:
        return selected
    return replace(selected, result=seen.counted(selected.result))


def select_from_predictions(workspace: Workspace, path: Path, request: Request) -> Selected:
    """Choose from a user's own predictions file.

    Raises:
        DataError: the file is not as expected.
        ForesiftError: as :meth:`foresift.strategies.Strategy.select`.
    """
    strategy, guards = checked(request), request.limits.guards()
    predictions = read_predictions(path)
    if not len(predictions):
        raise EmptyPoolError(f"{path} holds no rows; give a predictions file with at least one")
    pool = Pool.from_columns(str(path), predictions.sample_ids, uris=_uris(predictions))
    labeled = labeled_part(pool, request.labeled, own_labels=False)
    pool = replace(pool, notes=(*pool.notes, *labeled.notes))
    check_budget(request.budget, len(pool) - len(labeled.ids), allow_short=request.allow_short)
    used = [n for n in dict.fromkeys((*strategy.needs, *guards.needs)) if n not in LABEL_NEEDS]
    missing = fitted_passes(strategy, have=predictions.columns)
    predictions = with_fitted(predictions, missing, labeled=labeled.ids, keep=keep_in(workspace))
    described = {
        "file": str(path.absolute()),
        "columns": predictions.digest(used),
        "size": len(predictions),
    }
    if request.limits.reads_images:
        raise UsageError("beside --predictions, --validation is a predictions file too (.parquet with id, embedding)")
    held_out = with_held_out(guards, request.limits, pool, workspace=workspace, model=None, options=request.options)
    chosen = finish(Job(workspace, pool, strategy, labeled, request, held_out), predictions, described)
    return replace(chosen, notes=(*chosen.notes, *_doubts(predictions, used)))


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that was settled before a strategy is asked."""

    workspace: Workspace
    pool: Pool
    strategy: Strategy
    labeled: LabeledPart
    request: Request
    held_out: HeldOut


def _doubts(predictions: Predictions, used: list[str]) -> list[str]:
    """What looks wrong about a user's columns though it can be ranked."""
    if "logits" not in used or len(predictions) < 2:
        return []
    logits = predictions.column("logits")[:1000].astype(np.float64)
    if logits.shape[1] > 1 and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        return ["the logits look like probabilities; store logits, or the logarithm of the probabilities"]
    return []


def checked(request: Request) -> Strategy:
    """The strategy, once everything that can be refused before any work was refused."""
    strategy = parse(request.strategy)
    if request.out is not None:
        check_suffix(request.out)
        _spare_labels(request.out)
    if request.budget < (0 if request.allow_short else 1):
        hint = "; --allow-short accepts 0" if request.budget == 0 else ""
        raise BudgetError(f"budget must be at least 1 label, got {request.budget}{hint}")
    if not request.allow_short:
        strategy.check_budget(request.budget)
    checked_share(request.control)
    return strategy


def _spare_labels(out: Path) -> None:
    """Refuse to write over a selection in which people have begun to fill in labels.

    Raises:
        UsageError: the file holds labels.
    """
    try:
        filled = len(read_labels(out).labeled) if out.is_file() else 0
    except DataError:  # not a labels file: nothing of value to a labeler
        return
    if filled:
        raise UsageError(f"--out {out} holds {filled} labels already; choose another file, nothing was overwritten")


def _select_unseen(job: Job) -> Selected:
    request, pool = job.request, job.pool
    if request.options.strict and pool.quarantined:
        first = pool.quarantined[0]
        raise QuarantineError(f"--strict: {first.uri}: {first.reason}")
    if (pool.digests != "").all():
        pool = without_broken_picks(pool, job.strategy, job.labeled.ids, request, guards=job.held_out.guards)
        usable = len(pool) - int(np.isin(job.labeled.ids, pool.ids).sum())
        check_budget(request.budget, usable, allow_short=request.allow_short)
    predictions = unseen(pool, job.strategy, job.held_out.guards)
    described = describe(pool, pool.quarantined, predictions, predictions.columns)
    return replace(finish(replace(job, pool=pool), predictions, described), quarantined=pool.quarantined)


def _select_predicted(job: Job, models: Sequence[Model], rule: StableOrder | None) -> Selected:
    strategy, request, pool = job.strategy, job.request, job.pool
    guards = job.held_out.guards
    unlabeled = max(1, len(pool) - len(job.labeled.ids))
    share = min(1.0, max(1, request.budget) / unlabeled)
    options = replace(request.options, score=ScoreInUse(name=_score_in_use(strategy), share=share))
    also = model_columns(guards.needs)
    heard = None if rule is None else _heard(job, models, rule, options)
    models = models if heard is None else heard.models
    asked: dict[str, Any] = {"labeled": job.labeled.ids, "options": options, "also": also, "draws": request.draws}
    result, record = predict_models(job.workspace, pool, models, strategy, **asked)
    if heard is not None:
        result = replace(result, report=summed([heard.report, result.report]))
        record = {**record, "early_stop": heard.to_dict()}
    predictions = result.predictions
    usable = len(predictions) - int(np.isin(job.labeled.ids, predictions.sample_ids).sum())
    check_budget(request.budget, usable, allow_short=request.allow_short)
    needs = (*strategy.needs, *guards.needs)
    if "groups" in needs:
        predictions = with_groups_of(pool, predictions)
    columns = [name for name in dict.fromkeys(needs) if name not in LABEL_NEEDS]
    described = describe(pool, result.quarantined, predictions, columns)
    job = replace(job, pool=replace(pool, quarantined=result.quarantined))
    approx = "" if heard is None else heard.approx
    selected = finish(job, predictions, described, model=record, engine=result.choice.to_dict(), approx=approx)
    return replace(selected, quarantined=result.quarantined, result=result, notes=(*selected.notes, *result.notes))


def _heard(job: Job, models: Sequence[Model], rule: StableOrder, options: PassOptions) -> Heard:
    """The members that are enough for the order of as many samples as there are labels to buy."""

    def known(predictions: Predictions) -> dict[str, Any]:
        classes = models[0].generation.classes
        return {"labeled": job.labeled.ids, "truth": truth_codes(job.strategy, job.pool, predictions, classes)}

    k = max(1, job.request.budget)
    return hear_until_stable(job.workspace, job.pool, models, job.strategy, rule, k=k, known=known, options=options)


def finish(
    job: Job,
    predictions: Predictions,
    described: dict[str, Any],
    *,
    model: dict[str, Any] | None = None,
    engine: dict[str, Any] | None = None,
    approx: str = "",
) -> Selected:
    """Select, keep what a replay needs, and write the files; the output comes last, whole.

    Args:
        approx: what is approximate about the predictions; the receipt says it beside what the strategy says.
    """
    strategy, request, pool = job.strategy, job.request, job.pool
    labeled = _usable(job.labeled, predictions)
    classes = (model or {}).get("classes", ())
    labels = label_codes(strategy, labeled, classes, predictions)
    truth = truth_codes(strategy, pool, predictions, classes)
    known: dict[str, Any] = {"labeled": labeled.ids, "labels": labels, "truth": truth}
    query = strategy.query(predictions, budget=request.budget, guards=job.held_out.guards, **known)
    guards = job.held_out.guards.settled(query)
    rows = np.sort(pool.rows_of(predictions.sample_ids))
    snapshot = Snapshot(
        ids=pool.ids[rows],
        digests=pool.digests[rows],
        uris=pool.uris[rows],
        labeled=np.isin(pool.ids[rows], labeled.ids),
        quarantined=pool.quarantined,
        codes=_codes(pool.ids[rows], labeled, labels, truth),
        groups=pool.groups[rows] if "groups" in predictions.columns and pool.groups is not None else None,
        refused=None if guards.refused is None else np.isin(pool.ids[rows], guards.refused),
    )
    held_out = {"validation": job.held_out.described} if job.held_out.described else {}
    selection = strategy.select(
        predictions,
        budget=request.budget,
        seed=request.seed,
        guards=guards,
        control=request.control,
        pool={**described, **held_out, "snapshot": snapshot.key},
        model=model,
        engine=engine,
        **known,
    )
    if approx:
        said = "; ".join(filter(None, (approx, selection.receipt.approx)))
        selection = replace(selection, receipt=replace(selection.receipt, approx=said))
    _check_spent(selection, request)
    write_snapshot(job.workspace.pools, snapshot)
    keep_picks(job.workspace, selection)
    path = keep_receipt(job.workspace, selection.receipt)
    if request.out is not None:
        path = _write_out(request.out, selection)
    return Selected(selection=selection, receipt_path=path, notes=_notes(pool))


def _usable(labeled: LabeledPart, predictions: Predictions) -> LabeledPart:
    """The labeled samples that have predictions."""
    held = np.isin(labeled.ids, predictions.sample_ids)
    return LabeledPart(labeled.ids[held], labeled.names[held], labeled.notes)


def _codes(ids: Ids, labeled: LabeledPart, labels: Codes | None, truth: Codes | None) -> Codes | None:
    """(n,) what the strategy read of classes, in ascending order of id: for a snapshot."""
    if labels is None and truth is None:
        return None
    codes = np.full(len(ids), UNLABELED, dtype=np.int64) if truth is None else truth.copy()
    codes[np.searchsorted(ids, labeled.ids)] = UNLABELED if labels is None else labels
    return codes


def _check_spent(selection: Selection, request: Request) -> None:
    """Refuse a selection that guards left short of its budget, unless that is fine.

    Raises:
        BudgetError: names what they removed.
    """
    if request.allow_short or not selection.receipt.short:
        return
    removed = ", ".join(f"{count} {reason}" for reason, count in selection.receipt.guards["removed"].items())
    raise BudgetError(
        f"the guards leave {len(selection)} of a budget of {request.budget} (removed: {removed});"
        " loosen one, or take what there is with --allow-short"
    )


def _write_out(out: Path, selection: Selection) -> Path:
    """Write the table and, beside it, its receipt; the table takes its place when both are on the disk."""
    receipt = out.with_name(out.name + ".receipt.json")

    def both(target: Path) -> None:
        rows = selection.rows()
        write_rows(target, rows, row_columns(rows))
        write_json(receipt, {"id": selection.receipt.id, **selection.receipt.to_dict()})

    write_atomically(out, both)
    return receipt


def describe(
    pool: Pool, quarantined: tuple[Quarantined, ...], predictions: Predictions, columns: Iterable[str]
) -> dict[str, Any]:
    """What a receipt says of the pool."""
    return {
        "name": pool.name,
        "version": pool.version,
        "size": len(pool),
        "quarantined": len(quarantined),
        "columns": predictions.digest(list(columns)),
    }


def _score_in_use(strategy: Strategy) -> str:
    """The score whose ranking a faster engine must keep; entropy where the strategy ranks by none."""
    if strategy.name in SCORES and SCORES.get(strategy.name).needs == ("logits",):
        return strategy.name
    return "entropy"


def _uris(predictions: Predictions) -> Any:
    return predictions.uris if predictions.uris is not None else [""] * len(predictions)


def _notes(pool: Pool) -> tuple[str, ...]:
    return (*pool.notes, *(str(conflict) for conflict in pool.conflicts))
