"""``foresift search``: a part of a labeled set on which models learn as well as on all of it.

Everything lies in one folder: a subset and a result for each stage, the trained members beside them. A search that
was killed goes on with the first member that is missing; one that is finished is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model, open_model
from foresift.app.passes.committee import check_columns, predict_together
from foresift.app.passes.ensembles import open_members
from foresift.app.passes.stored import PassOptions
from foresift.app.pools import open_pool, relabeled
from foresift.app.runs.pools import fifth
from foresift.app.search.file import SearchRequest
from foresift.app.search.results import Found, Stage, stage_of
from foresift.app.search.transfer import FOUND, RANDOM, transfer
from foresift.app.training.request import TrainRequest
from foresift.app.training.starting import check_model
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Pool
from foresift.core.subsets import Subset, hash_of
from foresift.cycle.search import check_legal, check_outliers, counts_of, random_rows, start_count
from foresift.selection.candidates import model_columns
from foresift.stores.files import locked, read_json, write_json
from foresift.stores.generations import is_generation, read_generation
from foresift.stores.subsets import read_subset, write_subset

ENGINE = "torch"
"""The reference: neither a ranking nor an accuracy should depend on the machine's fastest engine."""
RECORD, RESULT, SUBSET = "search.json", "result.json", "subset.json"
START, ALL, TRANSFER = "start", "all", "transfer"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Everything that is settled before the first member is trained."""

    workspace: Workspace
    request: SearchRequest
    folder: Path
    data: str
    pool: Pool
    """What may be taken."""
    held: Pool
    """What is measured on."""
    counts: tuple[int, ...]
    passed: int
    """Largest scores that are passed over."""
    progress: Progress


def search(
    workspace: Workspace, request: SearchRequest, *, out: Path | None = None, progress: Progress | None = None
) -> Found:
    """Run what is missing of a search, and what came of it.

    Args:
        out: where everything is kept; by default a folder of the workspace.
    Raises:
        LabelError: unlabeled samples under a scheme or score that reads every label.
        UsageError: sizes, a score or a model that make no sense here; nothing was trained.
        DataError: the folder belongs to another search, or the data changed since it began.
    """
    folder = (out or workspace.home / "searches" / request.digest[:12]).absolute()
    _check_folder(folder, request)
    with locked(folder / ".lock"):
        ready = _prepared(workspace, request, folder, progress or Silent())
        finished = (folder / RESULT).is_file()
        if not finished:
            write_json(folder / RESULT, {"stages": [asdict(stage) for stage in _stages(ready)]})
        stages = tuple(stage_of(plain) for plain in read_json(folder / RESULT)["stages"])
        tried = transfer(
            folder / TRANSFER,
            request.transfer,
            request.transfer_seeds,
            partial(_tried, ready, Path(stages[-1].manifest)),
        )
    return Found(
        folder=folder,
        scheme=request.scheme,
        score=request.score,
        stages=stages,
        trainable=len(ready.pool),
        held_out=len(ready.held),
        notes=(*ready.pool.notes, *map(str, ready.pool.conflicts)),
        transfer=tried,
        resumed=finished,
    )


def _check_folder(folder: Path, request: SearchRequest) -> None:
    """Refuse a folder of another search; told before any work."""
    if (folder / RECORD).is_file():
        if read_json(folder / RECORD).get("request") != request.digest:
            raise DataError(f"{folder} holds a search with other settings; choose another --out (nothing was changed)")
    elif folder.is_dir() and any(path.name != ".lock" for path in folder.iterdir()):
        raise DataError(f"{folder} holds other files; choose a new folder with --out (nothing was changed)")


def _prepared(workspace: Workspace, request: SearchRequest, folder: Path, progress: Progress) -> _Search:
    strategy = request.strategy
    check_columns(strategy)
    for name in (request.model, *request.transfer):
        check_model(workspace, name)
    whole = relabeled(open_pool(workspace, request.data, progress=progress), request.labels)
    whole = whole.take(~np.isin(whole.digests, [conflict.digest for conflict in whole.conflicts]))
    unlabeled = int((~whole.labeled).sum())
    check_legal(request.how.needs, what=f"scheme {request.scheme}", unlabeled=unlabeled, of=len(whole))
    check_legal(strategy.needs, what=f"score {strategy.name}", unlabeled=unlabeled, of=len(whole))
    _check_labels(whole, unlabeled)
    pool, held = _parted(workspace, whole, request, progress)
    counts = counts_of(request.sizes, len(pool))
    if request.how.grows:
        start_count(counts[0], request.start, len(pool))
    passed = check_outliers(request.outliers, n=len(pool), sizes=counts)
    if passed and not strategy.prefix:
        raise UsageError(f"outliers are the largest scores, and {strategy.name} does not rank by one; leave them out")
    _record(folder, request, pool, held)
    return _Search(
        workspace=workspace,
        request=request,
        folder=folder,
        data=request.data,
        pool=pool,
        held=held,
        counts=counts,
        passed=passed,
        progress=progress,
    )


def _check_labels(pool: Pool, unlabeled: int) -> None:
    """Refuse data without labels: a search trains on labels, it buys none."""
    if not unlabeled:
        return
    raise LabelError(
        f"{pool.name}: {unlabeled:,} of {len(pool):,} samples have no label, and a search trains on what it takes; "
        "label them or leave them out, or buy labels round by round with foresift select --strategy mutual-information"
    )


def _parted(workspace: Workspace, whole: Pool, request: SearchRequest, progress: Progress) -> tuple[Pool, Pool]:
    """What may be taken and what is measured on; never a sample in both."""
    if request.evaluation is None:
        held = fifth(whole)
        if not held.any() or held.all():
            raise DataError(f"{whole.name} is too small to hold out a fifth of it; name a folder as evaluation")
        return whole.take(~held), whole.take(held)
    other = open_pool(workspace, request.evaluation, progress=progress)
    measured = other.take(other.labeled)
    if not len(measured):
        raise LabelError(f"evaluation {other.name} has no labels to measure with: give class folders or a manifest")
    return whole.take(~np.isin(whole.digests, measured.digests)), measured


def _record(folder: Path, request: SearchRequest, pool: Pool, held: Pool) -> None:
    """Remember what is searched, or see that it is the same as when the search began.

    Raises:
        DataError: samples or labels changed since.
    """
    said = {"request": request.digest, "pool": pool.version, "held": held.version, "settings": asdict(request)}
    if not (folder / RECORD).is_file():
        write_json(folder / RECORD, said)
        return
    known = read_json(folder / RECORD)
    if (known["pool"], known["held"]) != (pool.version, held.version):
        raise DataError(f"the data changed since the search in {folder} began; put them back, or choose another --out")


def _stages(search: _Search) -> Iterator[Stage]:
    grow = search.request.how.grows
    yield from _grown(search) if grow else _taken(search)


def _grown(search: _Search) -> Iterator[Stage]:
    """Stages whose ensembles rank what is to be added to their own subset."""
    request = search.request
    first = start_count(search.counts[0], request.start, len(search.pool))
    rows = random_rows(len(search.pool), first, seed=request.seed)
    subset = _kept_subset(search, START, lambda: _subset(search, search.pool.ids[rows], models=()))
    models = _members(search, START)
    for number, count in enumerate(search.counts, start=1):
        name = f"stage-{number}"
        before, speakers = subset, models

        def grown(before: Subset = before, speakers: Sequence[Model] = speakers, count: int = count) -> Subset:
            held = np.array(before.ids)
            more = _ranked(search, speakers, held, count - len(held))
            return _subset(search, np.concatenate([held, more]), models=speakers, parent=before.hash)

        subset = _kept_subset(search, name, grown)
        models = _members(search, name)
        yield _measured(search, name, subset, models)


def _taken(search: _Search) -> Iterator[Stage]:
    """Stages that are the best-ranked parts by an ensemble that knows everything."""
    _kept_subset(search, ALL, lambda: _subset(search, search.pool.ids, models=()))
    teachers = _members(search, ALL)
    for number, count in enumerate(search.counts, start=1):
        name = f"stage-{number}"

        def best(count: int = count) -> Subset:
            return _subset(search, _ranked(search, teachers, search.pool.ids[:0], count), models=teachers)

        subset = _kept_subset(search, name, best)
        yield _measured(search, name, subset, _members(search, name))


def _ranked(search: _Search, models: Sequence[Model], held: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """The ids of so many best samples beside those that are held, the largest scores passed over."""
    strategy, pool = search.request.strategy, search.pool
    columns = model_columns(strategy.needs)
    if columns:
        predictions = predict_together(search.workspace, pool, models, names=columns, options=_options(search))[
            0
        ].predictions
    else:
        predictions = Predictions(sample_ids=pool.ids, uris=pool.uris)
    usable = len(predictions) - int(np.isin(held, predictions.sample_ids).sum())
    if usable < count + search.passed:
        raise DataError(f"{usable} usable samples are left of {pool.name}, and {count + search.passed} are needed")
    read = (*strategy.needs, *strategy.uses)
    selection = strategy.select(
        predictions,
        budget=count + search.passed,
        labeled=held,
        labels=_codes(search, held) if "labels" in read else None,
        truth=_codes(search, predictions.sample_ids) if "truth" in read else None,
        seed=search.request.seed,
    )
    ids: npt.NDArray[Any] = selection.sample_ids[search.passed :]
    return ids


def _codes(search: _Search, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(n,) classes of samples that may be taken; the models know the same classes in the same order."""
    return search.pool.codes[search.pool.rows_of(ids)].astype(np.int64)


def _kept_subset(search: _Search, name: str, make: Any) -> Subset:
    """The subset of a stage: the one that is kept, else a new one."""
    path = search.folder / name / SUBSET
    if not path.is_file():
        write_subset(path, make())
    return read_subset(path)


def _subset(search: _Search, ids: npt.NDArray[Any], *, models: Sequence[Model], parent: str = "") -> Subset:
    request, pool = search.request, search.pool
    rows = np.sort(pool.rows_of(ids))
    data = {"name": pool.name, "version": pool.version}
    return Subset(
        ids=tuple(pool.ids[rows].tolist()),
        hash=hash_of(pool.ids[rows], pool.digests[rows]),
        data=data if request.labels is None else {**data, "labels": request.labels},
        of=len(pool),
        scheme=request.scheme,
        score=request.score if models else "",
        members=tuple(map(_described, models)),
        seed=request.seed,
        outliers=request.outliers,
        parent=parent,
    )


def _described(model: Model) -> Mapping[str, Any]:
    """Who scored, without saying where it lies."""
    return {
        "generation": read_generation(model.folder).id,
        "checkpoint": "" if model.checkpoint is None else model.checkpoint.name,
        "weights": model.generation.weights,
        "architecture": model.generation.architecture,
    }


def _members(search: _Search, name: str) -> list[Model]:
    """The members that learned from a stage's subset, those trained that are missing."""
    request = search.request
    tuned = request.how.continues and name != ALL
    folders = [search.folder / name / f"seed-{seed}" for seed in range(request.seeds)]
    for seed, folder in enumerate(folders):
        if not is_generation(folder):
            beginning = str(search.folder / ALL / folder.name) if tuned else request.model
            _train(search, name, folder, model=beginning, seed=request.seed + seed, tuned=tuned)
    kept = request.kept_of_fine_tune if tuned else request.epochs
    models = open_members(search.workspace, folders, checkpoints=f"last={kept}")
    if models[0].generation.classes != search.pool.classes:
        raise UsageError(f"{request.model} knows other classes than {search.pool.name}; begin with an architecture")
    return models


def _train(search: _Search, name: str, folder: Path, *, model: str, seed: int, tuned: bool) -> None:
    request = search.request
    recipe = {**request.recipe, "keep_checkpoints": request.epochs}
    if tuned:
        recipe = {**request.recipe, **request.fine_tune, "keep_checkpoints": request.kept_of_fine_tune}
    asked = TrainRequest(
        model=model,
        out=folder,
        subset=search.folder / name / SUBSET,
        labels=None if request.labels is None else Path(request.labels),
        seed=seed,
        recipe=recipe,
        progress=search.progress,
    )
    train(search.workspace, search.data, asked)


def _measured(search: _Search, name: str, subset: Subset, models: Sequence[Model]) -> Stage:
    """How well the members of a stage do on what is held out: kept, or measured now."""
    path = search.folder / name / RESULT
    if not path.is_file():
        together = _accuracy(search, models)
        each = len(models) // search.request.seeds
        single = tuple(_accuracy(search, [model]) for model in models[each - 1 :: each])
        stage = Stage(
            size=subset.size,
            share=subset.size / len(search.pool),
            manifest=str(search.folder / name / SUBSET),
            accuracy=together,
            single=single,
            members=len(models),
        )
        write_json(path, asdict(stage))
    return stage_of(read_json(path))


def _tried(search: _Search, found: Path, model: str, part: str, seed: int, out: Path) -> float:
    """Accuracy of one architecture that learned from one part from scratch."""
    request = search.request
    count = read_subset(found).size if part == RANDOM else len(search.pool)
    rows = random_rows(len(search.pool), count, seed=request.seed + seed)
    name = f"{TRANSFER}/{part}-{seed}"
    if part != FOUND:
        _kept_subset(search, name, lambda: _subset(search, search.pool.ids[rows], models=()))
    if not is_generation(out):
        asked = TrainRequest(
            model=model,
            out=out,
            subset=found if part == FOUND else search.folder / name / SUBSET,
            labels=None if request.labels is None else Path(request.labels),
            seed=request.seed + seed,
            recipe=dict(request.recipe),
            progress=search.progress,
        )
        train(search.workspace, search.data, asked)
    return _accuracy(search, [open_model(search.workspace, out)])


def _accuracy(search: _Search, models: Sequence[Model]) -> float:
    """Share of the held-out samples whose class the members' mean probability finds."""
    held = search.held
    result, _ = predict_together(search.workspace, held, models, names=("logits",), options=_options(search))
    found = result.predictions.column("logits").argmax(axis=1)
    names = np.array(models[0].generation.classes)[found]
    truth = np.array(held.classes)[held.codes[held.rows_of(result.predictions.sample_ids)]]
    return fmean((names == truth).tolist())


def _options(search: _Search) -> PassOptions:
    return PassOptions(engine=ENGINE, progress=search.progress)
