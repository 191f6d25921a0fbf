"""``foresift search``: a part of a labeled set on which models learn as well as on all of it.

Everything lies in one folder: a subset and a result for each stage, the trained members beside them. A search that
was killed goes on with the first member that is missing; one that is finished is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model, open_model
from foresift.app.passes.committee import predict_together
from foresift.app.passes.early_stop import Heard, hear_until_stable
from foresift.app.passes.ensembles import open_members
from foresift.app.passes.stored import PassOptions
from foresift.app.search.file import SearchRequest
from foresift.app.search.preparing import RECORD, Search, prepared
from foresift.app.search.results import Found, Stage, stage_of
from foresift.app.search.transfer import FOUND, RANDOM, transfer
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.protocols import Progress, Silent
from foresift.core.subsets import Subset, hash_of
from foresift.cycle.search import random_rows, start_count
from foresift.selection.candidates import model_columns
from foresift.stores.files import locked, read_json, write_json
from foresift.stores.generations import is_generation, read_generation
from foresift.stores.subsets import read_subset, write_subset

ENGINE = "torch"
"""The reference: neither a ranking nor an accuracy should depend on the machine's fastest engine."""
RESULT, SUBSET = "result.json", "subset.json"
START, ALL, TRANSFER = "start", "all", "transfer"


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
        ready = prepared(workspace, request, folder, progress or Silent())
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


def _stages(search: Search) -> Iterator[Stage]:
    grow = search.request.how.grows
    yield from _grown(search) if grow else _taken(search)


def _grown(search: Search) -> Iterator[Stage]:
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
            more, heard = _ranked(search, speakers, held, count - len(held))
            ids = np.concatenate([held, more])
            return _subset(search, ids, models=speakers, heard=heard, parent=before.hash)

        subset = _kept_subset(search, name, grown)
        models = _members(search, name)
        yield _measured(search, name, subset, models)


def _taken(search: Search) -> Iterator[Stage]:
    """Stages that are the best-ranked parts by an ensemble that knows everything."""
    _kept_subset(search, ALL, lambda: _subset(search, search.pool.ids, models=()))
    teachers = _members(search, ALL)
    for number, count in enumerate(search.counts, start=1):
        name = f"stage-{number}"

        def best(count: int = count) -> Subset:
            ids, heard = _ranked(search, teachers, search.pool.ids[:0], count)
            return _subset(search, ids, models=teachers, heard=heard)

        subset = _kept_subset(search, name, best)
        yield _measured(search, name, subset, _members(search, name))


def _ranked(
    search: Search, models: Sequence[Model], held: npt.NDArray[Any], count: int
) -> tuple[npt.NDArray[Any], Heard | None]:
    """The ids of so many best samples beside those that are held, the largest scores passed over; who was enough."""
    strategy, pool = search.request.strategy, search.pool
    columns = model_columns(strategy.needs)
    heard = _heard(search, models, held, count + search.passed)
    if columns:
        speakers = models if heard is None else heard.models
        together = predict_together(search.workspace, pool, speakers, names=columns, options=_options(search))
        predictions = together[0].predictions
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
    return selection.sample_ids[search.passed :], heard


def _heard(search: Search, models: Sequence[Model], held: npt.NDArray[Any], k: int) -> Heard | None:
    """The members that are enough for the order of k samples; None where all are asked."""
    strategy, rule = search.request.strategy, search.request.rule
    if rule is None:
        return None

    def known(predictions: Predictions) -> dict[str, Any]:
        return {
            "labeled": held,
            "truth": _codes(search, predictions.sample_ids) if "truth" in strategy.needs else None,
        }

    asked: dict[str, Any] = {"k": k, "known": known, "options": _options(search)}
    return hear_until_stable(search.workspace, search.pool, models, strategy, rule, **asked)


def _codes(search: Search, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(n,) classes of samples that may be taken; the models know the same classes in the same order."""
    return search.pool.codes[search.pool.rows_of(ids)].astype(np.int64)


def _kept_subset(search: Search, name: str, make: Any) -> Subset:
    """The subset of a stage: the one that is kept, else a new one."""
    path = search.folder / name / SUBSET
    if not path.is_file():
        write_subset(path, make())
    return read_subset(path)


def _subset(
    search: Search,
    ids: npt.NDArray[Any],
    *,
    models: Sequence[Model],
    heard: Heard | None = None,
    parent: str = "",
) -> Subset:
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
        members=tuple(map(_described, models if heard is None else heard.models)),
        seed=request.seed,
        outliers=request.outliers,
        parent=parent,
        details={} if heard is None else {"approx": heard.approx, "early_stop": heard.to_dict()},
    )


def _described(model: Model) -> Mapping[str, Any]:
    """Who scored, without saying where it lies."""
    return {
        "generation": read_generation(model.folder).id,
        "checkpoint": "" if model.checkpoint is None else model.checkpoint.name,
        "weights": model.generation.weights,
        "architecture": model.generation.architecture,
    }


def _members(search: Search, name: str) -> list[Model]:
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


def _train(search: Search, name: str, folder: Path, *, model: str, seed: int, tuned: bool) -> None:
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


def _measured(search: Search, name: str, subset: Subset, models: Sequence[Model]) -> Stage:
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
            approx=subset.details.get("approx", ""),
            early_stop=subset.details.get("early_stop", {}),
        )
        write_json(path, asdict(stage))
    return stage_of(read_json(path))


def _tried(search: Search, found: Path, model: str, part: str, seed: int, out: Path) -> float:
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


def _accuracy(search: Search, models: Sequence[Model]) -> float:
    """Share of the held-out samples whose class the members' mean probability finds."""
    held = search.held
    result, _ = predict_together(search.workspace, held, models, names=("logits",), options=_options(search))
    found = result.predictions.column("logits").argmax(axis=1)
    names = np.array(models[0].generation.classes)[found]
    truth = np.array(held.classes)[held.codes[held.rows_of(result.predictions.sample_ids)]]
    return fmean((names == truth).tolist())


def _options(search: Search) -> PassOptions:
    return PassOptions(engine=ENGINE, progress=search.progress)
