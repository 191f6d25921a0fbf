"""What a run may choose from, what it is measured on, and the truth where the pool knows it: fixed at its start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.pools import open_pool
from foresift.app.runs.file_values import FIFTH, FOLDERS, NONE
from foresift.app.runs.files import RunFile
from foresift.app.runs.held_out import held_out, left_to_choose
from foresift.app.runs.mask_pools import mask_pool
from foresift.app.runs.pool_files import CANDIDATES, EVALUATION, TRUTH, Columns, RunPool, keep_pool, kept_pool
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, LabelError, UsageError
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Pool
from foresift.sources.segmentation import images_part
from foresift.stores.tables import write_columns


def run_pool(workspace: Workspace, folder: Path, run: RunFile, *, progress: Progress | None = None) -> RunPool:
    """The pool of a run: written to its folder the first time, read from there ever after.

    Raises:
        LabelError: class folders are to answer, and there are none; or an evaluation set without labels.
        UsageError: a control arm, and nothing to compare it on.
        BudgetError: more labels than there are samples.
    """
    if (kept := kept_pool(folder)) is not None:
        return kept
    make = mask_pool if run.has_masks else _class_pool
    made, tables = make(workspace, run, progress or Silent())
    if run.control and not made.evaluation_size:
        raise UsageError(
            f"control needs labeled images to compare on, and {made.name} has none to hold out; give evaluation: FOLDER"
        )
    found = replace(made, notes=[*made.notes, *_thrift(run)])
    _check_budgets(run, found)
    for name, columns in tables.items():
        write_columns(folder / name, columns)
    keep_pool(folder, found)  # last: what it speaks of is there
    return found


def images_of(run: RunFile) -> str:
    """Where the images lie that may be chosen: beside masks, in a folder of their own."""
    return str(images_part(Path(run.pool), run.split)) if run.has_masks else run.pool


def _class_pool(workspace: Workspace, run: RunFile, progress: Progress) -> tuple[RunPool, dict[str, Columns]]:
    """A pool whose labels are classes, and its tables."""
    pool = open_pool(workspace, run.pool, progress=progress)
    evaluation = _evaluation(workspace, run, pool)
    candidates, notes = _candidates(run, pool, evaluation)
    found = RunPool(
        name=pool.name,
        version=pool.version,
        size=len(candidates),
        evaluation_size=0 if evaluation is None else len(evaluation),
        classes=_classes(run, pool, evaluation),
        notes=[*pool.notes, *map(str, pool.conflicts), *notes],
    )
    tables: dict[str, Columns] = {CANDIDATES: _named(candidates) | _groups(candidates)}
    if evaluation is not None:
        tables[EVALUATION] = _named(evaluation) | _labels(evaluation)
    if run.oracle == FOLDERS:
        tables[TRUTH] = _named(candidates) | _labels(candidates)
    return found, tables


def fifth(pool: Pool) -> npt.NDArray[np.bool_]:
    """(n,) a fifth of each class, the samples whose ids have the smallest digests.

    It depends on ids alone: not on the order, the place or the number of other classes' images.
    """
    chosen = np.zeros(len(pool), dtype=bool)
    for code in range(len(pool.classes)):
        rows = np.flatnonzero(pool.codes == code)
        chosen[held_out(pool.ids, rows)] = True
    return chosen


def _evaluation(workspace: Workspace, run: RunFile, pool: Pool) -> Pool | None:
    """The labeled samples that the run is measured on; None without any."""
    if run.evaluation == NONE:
        return None
    if run.evaluation != FIFTH:
        other = open_pool(workspace, run.evaluation)
        if not other.labeled.any():
            raise LabelError(f"{other.name} has no labels to measure on; give class folders, or evaluation: none")
        return other.take(other.labeled)
    return pool.take(fifth(pool)) if pool.labeled.all() else None


def _candidates(run: RunFile, pool: Pool, evaluation: Pool | None) -> tuple[Pool, list[str]]:
    """What may be chosen: nothing that is measured on, and with class folders only what they name."""
    keep, notes = np.ones(len(pool), dtype=bool), []
    if evaluation is not None:
        keep, shared = left_to_choose(pool, evaluation)
        notes = [] if run.evaluation == FIFTH else shared  # of a fifth of the pool itself that is no news
    elif run.evaluation == FIFTH:
        notes.append("the pool has no labels to hold out a fifth of: nothing is measured; give evaluation: FOLDER")
    if run.oracle == FOLDERS:
        keep &= pool.labeled
        if not keep.any():
            raise LabelError(f"{pool.name} has no class folders to answer; use oracle: people or oracle: files")
        if unnamed := int((~pool.labeled).sum()):
            notes.append(f"{unnamed} images without a class, or with two, are left out")
    return pool.take(keep), notes


def _classes(run: RunFile, pool: Pool, evaluation: Pool | None) -> list[str]:
    if run.classes:
        return list(run.classes)
    return sorted({*pool.classes, *(() if evaluation is None else evaluation.classes)})


def _check_budgets(run: RunFile, found: RunPool) -> None:
    if run.budget > found.size:
        raise BudgetError(f"budget {run.budget} is more than the {found.size:,} samples that can be chosen; lower it")
    if run.most_labels > found.size and not (run.tries and run.charge == "per_strategy"):
        raise BudgetError(
            f"{run.most_labels:,} labels in {run.rounds} rounds are more than the {found.size:,} samples that can be "
            "chosen; lower rounds, budget or max_labels"
        )


def check_left(run: RunFile, found: RunPool, inherited: int) -> None:
    """Refuse a run that would buy more than inherited labels have left.

    Raises:
        BudgetError: one strategy alone runs out of samples.
    """
    wanted, left = min(run.most_labels, run.budget * run.rounds), found.size - inherited
    if wanted > left:
        raise BudgetError(
            f"{wanted:,} labels are more than the {left:,} samples without one: of {found.size:,}, {inherited:,} are "
            "inherited; lower rounds, budget or max_labels"
        )


def _thrift(run: RunFile) -> list[str]:
    """What to know of a trial whose budget does not last for one round."""
    left, each = run.most_labels - run.first_labels, run.budget * len(run.strategies)
    if not run.tries or run.control or run.agent != "pshea" or left >= each:
        return []
    return [
        f"{len(run.strategies)} strategies buy {run.budget} labels each in a round, {each} in all, and max_labels "
        f"leaves {left}: nothing is decided by them; raise max_labels, name fewer strategies, or use agent: shared"
    ]


def _named(pool: Pool) -> dict[str, list[Any]]:
    return {"id": pool.ids.tolist(), "uri": pool.uris.tolist()}


def _labels(pool: Pool) -> dict[str, list[Any]]:
    return {"label": np.array([*pool.classes, ""], dtype=np.str_)[pool.codes].tolist()}


def _groups(pool: Pool) -> dict[str, list[Any]]:
    return {} if pool.groups is None else {"group": pool.groups.tolist()}
