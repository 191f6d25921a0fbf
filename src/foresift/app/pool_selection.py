"""``foresift select``: what to label next, from a pool and a model or from a predictions file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.columns import check_columns, predict_needed
from foresift.app.engine_choice import ScoreInUse
from foresift.app.passes import Model, PassOptions, PassResult, open_model
from foresift.app.pools import labeled_part, open_pool
from foresift.app.receipts import keep_receipt
from foresift.app.selecting import check_budget
from foresift.app.workspace import Workspace
from foresift.core.arrays import Ids
from foresift.core.errors import BudgetError, DataError, EmptyPoolError, MissingExtraError, QuarantineError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.core.samples import Pool, Quarantined
from foresift.inference.decode import decode
from foresift.scores import SCORES
from foresift.sources.labels import read_labels
from foresift.sources.read import fetch
from foresift.stores.files import write_atomically, write_json
from foresift.stores.pools import Snapshot, write_snapshot
from foresift.stores.tables import check_suffix, read_predictions, write_rows
from foresift.strategies import Strategy, parse
from foresift.strategies.candidates import LABEL_NEEDS

ROW_COLUMNS = ("rank", "id", "uri", "score", "arm", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to select; the same for every kind of pool."""

    strategy: str
    budget: int
    labeled: Path | None = None
    """A file of ids or uris that are labeled already."""
    seed: int = 0
    allow_short: bool = False
    out: Path | None = None
    options: PassOptions = field(default_factory=PassOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A selection and what there is to know about the pool it came from."""

    selection: Selection
    receipt_path: Path
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    result: PassResult | None = None


def select_from_pool(
    workspace: Workspace,
    spec: str | Path,
    request: Request,
    *,
    model: str | Path | None = None,
    stdin: Iterable[str] | None = None,
) -> Selected:
    """Choose from a pool of images; scores come from the store, or from a pass that fills it.

    A strategy that needs no column reads no image of a pool with its own ids.

    Raises:
        UsageError: the strategy needs a model and none is given; budget out of range.
        ForesiftError: as :func:`foresift.app.passes.predict_pool`.
    """
    strategy = _checked(request)
    columns = [name for name in strategy.needs if name not in LABEL_NEEDS]
    if columns and model is None:
        raise UsageError(f"strategy {strategy.name} needs {' and '.join(columns)}: give the model with --model DIR")
    check_columns(strategy)
    opened = open_model(workspace, model) if model is not None and columns else None
    pool = open_pool(workspace, spec, need_digests=bool(columns), progress=request.options.progress, stdin=stdin)
    labeled, remarks = labeled_part(pool, request.labeled, own_labels="truth" not in strategy.needs)
    pool = replace(pool, notes=(*pool.notes, *remarks))
    check_budget(request.budget, len(pool) - len(labeled), allow_short=request.allow_short)
    if opened is None:
        return _select_unseen(workspace, pool, strategy, labeled, request)
    return _select_predicted(workspace, pool, opened, strategy, labeled, request)


def select_from_predictions(workspace: Workspace, path: Path, request: Request) -> Selected:
    """Choose from a user's own predictions file.

    Raises:
        DataError: the file is not as expected.
        ForesiftError: as :meth:`foresift.strategies.Strategy.select`.
    """
    strategy = _checked(request)
    predictions = read_predictions(path)
    if not len(predictions):
        raise EmptyPoolError(f"{path} holds no rows; give a predictions file with at least one")
    pool = Pool.from_columns(str(path), predictions.sample_ids, uris=_uris(predictions))
    labeled, remarks = labeled_part(pool, request.labeled, own_labels=False)
    pool = replace(pool, notes=(*pool.notes, *remarks))
    check_budget(request.budget, len(pool) - len(labeled), allow_short=request.allow_short)
    used = [name for name in strategy.needs if name not in LABEL_NEEDS]
    described = {
        "file": str(path.absolute()),
        "columns": predictions.digest(used),
        "size": len(predictions),
    }
    chosen = _finish(workspace, pool, strategy, predictions, labeled, request, described)
    return replace(chosen, notes=(*chosen.notes, *_doubts(predictions, used)))


def _doubts(predictions: Predictions, used: list[str]) -> list[str]:
    """What looks wrong about a user's columns though it can be ranked."""
    if "logits" not in used or len(predictions) < 2:
        return []
    logits = predictions.column("logits")[:1000].astype(np.float64)
    if logits.shape[1] > 1 and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        return ["the logits look like probabilities; store logits, or the logarithm of the probabilities"]
    return []


def _checked(request: Request) -> Strategy:
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


def _select_unseen(workspace: Workspace, pool: Pool, strategy: Strategy, labeled: Ids, request: Request) -> Selected:
    if request.options.strict and pool.quarantined:
        first = pool.quarantined[0]
        raise QuarantineError(f"--strict: {first.uri}: {first.reason}")
    if (pool.digests != "").all():
        pool = without_broken_picks(pool, strategy, labeled, request)
        check_budget(request.budget, len(pool) - int(np.isin(labeled, pool.ids).sum()), allow_short=request.allow_short)
    predictions = Predictions(sample_ids=pool.ids, uris=pool.uris)
    described = _describe(pool, pool.quarantined, predictions, ())
    return replace(
        _finish(workspace, pool, strategy, predictions, labeled, request, described), quarantined=pool.quarantined
    )


def without_broken_picks(pool: Pool, strategy: Strategy, labeled: Ids, request: Request) -> Pool:
    """The pool without the images that would be picked and can't be decoded; these are quarantined.

    No model has looked at the pool, so nobody knows yet which images are broken. Only those that
    are picked are decoded, until all of them are fine.
    """
    checked: set[Any] = set()
    while True:
        predictions = Predictions(sample_ids=pool.ids, uris=pool.uris)
        picked = strategy.select(predictions, budget=request.budget, labeled=labeled, seed=request.seed).sample_ids
        fresh = [row for row in pool.rows_of(picked).tolist() if pool.ids[row] not in checked]
        broken = {row: reason for row in fresh if (reason := _why_broken(str(pool.uris[row])))}
        checked.update(pool.ids[row] for row in fresh)
        if not broken:
            return pool
        found = [Quarantined(uri=str(pool.uris[row]), reason=reason) for row, reason in broken.items()]
        if request.options.strict:
            raise QuarantineError(f"--strict: {found[0].uri}: {found[0].reason}")
        keep = np.ones(len(pool), dtype=bool)
        keep[list(broken)] = False
        pool = replace(pool.take(keep), quarantined=(*pool.quarantined, *found))


def _why_broken(uri: str) -> str:
    """Why an image can't be decoded; empty if it can, or if no decoder is installed to tell."""
    try:
        decode(fetch(uri))
    except MissingExtraError:
        return ""
    except DataError as error:
        return str(error)
    return ""


def _select_predicted(
    workspace: Workspace, pool: Pool, model: Model, strategy: Strategy, labeled: Ids, request: Request
) -> Selected:
    columns = [name for name in strategy.needs if name not in LABEL_NEEDS]
    unlabeled = max(1, len(pool) - len(labeled))
    share = min(1.0, max(1, request.budget) / unlabeled)
    options = replace(request.options, score=ScoreInUse(name=_score_in_use(strategy), share=share))
    result = predict_needed(workspace, pool, model, strategy, options=options)
    usable = len(result.predictions) - int(np.isin(labeled, result.predictions.sample_ids).sum())
    check_budget(request.budget, usable, allow_short=request.allow_short)
    described = _describe(pool, result.quarantined, result.predictions, columns)
    engine = {**asdict(result.choice), "checks": {n: c.to_dict() for n, c in result.choice.checks.items()}}
    selected = _finish(
        workspace,
        replace(pool, quarantined=result.quarantined),
        strategy,
        result.predictions,
        labeled,
        request,
        described,
        model={
            "id": model.generation.id,
            "folder": str(model.folder.absolute()),
            "classes": list(model.generation.classes),
        },
        engine=engine,
    )
    return replace(selected, quarantined=result.quarantined, result=result)


def _finish(
    workspace: Workspace,
    pool: Pool,
    strategy: Strategy,
    predictions: Predictions,
    labeled: Ids,
    request: Request,
    described: dict[str, Any],
    *,
    model: dict[str, Any] | None = None,
    engine: dict[str, Any] | None = None,
) -> Selected:
    """Select, keep what a replay needs, and write the files; the output comes last, whole."""
    labeled = labeled[np.isin(labeled, predictions.sample_ids)]
    rows = pool.rows_of(predictions.sample_ids)
    snapshot = Snapshot(
        ids=predictions.sample_ids if "file" not in described else pool.ids,
        digests=pool.digests[np.sort(rows)],
        uris=pool.uris[np.sort(rows)],
        labeled=np.isin(pool.ids[np.sort(rows)], labeled),
        quarantined=pool.quarantined,
    )
    selection = strategy.select(
        predictions,
        budget=request.budget,
        labeled=labeled,
        seed=request.seed,
        truth=_truth(pool, predictions, strategy, model),
        pool={**described, "snapshot": snapshot.key},
        model=model,
        engine=engine,
    )
    write_snapshot(workspace.pools, snapshot)
    path = keep_receipt(workspace, selection.receipt)
    if request.out is not None:
        path = _write_out(request.out, selection)
    return Selected(selection=selection, receipt_path=path, notes=_notes(pool))


def _write_out(out: Path, selection: Selection) -> Path:
    """Write the table and, beside it, its receipt; the table takes its place when both are on the disk."""
    receipt = out.with_name(out.name + ".receipt.json")

    def both(target: Path) -> None:
        write_rows(target, selection.rows(), ROW_COLUMNS)
        write_json(receipt, {"id": selection.receipt.id, **selection.receipt.to_dict()})

    write_atomically(out, both)
    return receipt


def _describe(
    pool: Pool, quarantined: tuple[Quarantined, ...], predictions: Predictions, columns: Iterable[str]
) -> dict[str, Any]:
    return {
        "name": pool.name,
        "version": pool.version,
        "size": len(pool),
        "quarantined": len(quarantined),
        "columns": predictions.digest(list(columns)),
    }


def _truth(pool: Pool, predictions: Predictions, strategy: Strategy, model: dict[str, Any] | None) -> list[int] | None:
    """Class codes of the candidates in the model's order, for strategies that need the truth."""
    if "truth" not in strategy.needs or model is None:
        return None
    codes = {name: code for code, name in enumerate(model["classes"])}
    names = [pool[int(row)].label for row in pool.rows_of(predictions.sample_ids)]
    unknown = sorted({str(name) for name in names if name is not None and name not in codes})
    if unknown:
        raise UsageError(
            f"labels {unknown[:3]} are no classes of the model ({', '.join(model['classes'][:10])}); "
            "use a model with the same classes"
        )
    return [codes[name] if name is not None else -1 for name in names]


def _score_in_use(strategy: Strategy) -> str:
    """The score whose ranking a faster engine must keep; entropy where the strategy ranks by none."""
    if strategy.name in SCORES and SCORES.get(strategy.name).needs == ("logits",):
        return strategy.name
    return "entropy"


def _uris(predictions: Predictions) -> Any:
    return predictions.uris if predictions.uris is not None else [""] * len(predictions)


def _notes(pool: Pool) -> tuple[str, ...]:
    return (*pool.notes, *(str(conflict) for conflict in pool.conflicts))
