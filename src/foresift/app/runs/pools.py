"""What a run may choose from, what it is measured on, and the truth where class folders know it: fixed at its start."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.pools import open_pool
from foresift.app.runs.files import FIFTH, FOLDERS, NONE, RunFile
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, LabelError
from foresift.core.protocols import Progress, Silent
from foresift.core.rounds import SampleId
from foresift.core.samples import Pool
from foresift.stores.files import read_json, write_json
from foresift.stores.tables import write_columns

CANDIDATES, EVALUATION, TRUTH = "candidates.parquet", "evaluation.parquet", "truth.parquet"
_RECORD = "pool.json"
_SHARE = 5
"""One in so many labeled samples is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPool:
    """The pool of a run as it first saw it; its tables lie in the run's folder."""

    name: str
    version: str
    size: int
    """Samples that may be chosen."""
    evaluation_size: int
    classes: list[str] = field(default_factory=list)
    """In the order of the logits; empty where nobody knows them yet."""
    notes: list[str] = field(default_factory=list)


def run_pool(workspace: Workspace, folder: Path, run: RunFile, *, progress: Progress | None = None) -> RunPool:
    """The pool of a run: written to its folder the first time, read from there ever after.

    Raises:
        LabelError: class folders are to answer, and there are none; or an evaluation set without labels.
        BudgetError: more labels than there are samples.
    """
    if (kept := kept_pool(folder)) is not None:
        return kept
    pool = open_pool(workspace, run.pool, progress=progress or Silent())
    evaluation = _evaluation(workspace, run, pool)
    candidates, notes = _candidates(run, pool, evaluation)
    found = RunPool(
        name=pool.name,
        version=pool.version,
        size=len(candidates),
        evaluation_size=0 if evaluation is None else len(evaluation),
        classes=_classes(run, pool, evaluation),
        notes=[*pool.notes, *map(str, pool.conflicts), *notes, *_thrift(run)],
    )
    _check_budgets(run, found)
    write_columns(folder / CANDIDATES, _named(candidates) | _groups(candidates))
    if evaluation is not None:
        write_columns(folder / EVALUATION, _named(evaluation) | _labels(evaluation))
    if run.oracle == FOLDERS:
        write_columns(folder / TRUTH, _named(candidates) | _labels(candidates))
    write_json(folder / _RECORD, asdict(found))  # last: what it speaks of is there
    return found


def kept_pool(folder: Path) -> RunPool | None:
    """The pool of the run that has this folder; None while it has none."""
    record = folder / _RECORD
    if not record.is_file():
        return None
    known = {f.name for f in fields(RunPool)}  # a newer version may have written more
    return RunPool(**{name: value for name, value in read_json(record).items() if name in known})


def fifth(pool: Pool) -> npt.NDArray[np.bool_]:
    """(n,) a fifth of each class, the samples whose ids have the smallest digests.

    It depends on ids alone: not on the order, the place or the number of other classes' images.
    """
    chosen = np.zeros(len(pool), dtype=bool)
    for code in range(len(pool.classes)):
        rows = np.flatnonzero(pool.codes == code)
        by_digest = sorted(rows.tolist(), key=lambda row: _digest(pool.ids[row].item()))
        chosen[by_digest[: (len(rows) + _SHARE // 2) // _SHARE]] = True
    return chosen


def _digest(sample: Any) -> bytes:
    return hashlib.sha256(f"foresift evaluation\n{sample}".encode("utf-8", "surrogateescape")).digest()


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
    keep = np.ones(len(pool), dtype=bool)
    notes = []
    if evaluation is not None:
        held_out = _among(pool, evaluation)
        keep &= ~held_out
        if run.evaluation != FIFTH and held_out.any():
            notes.append(f"{int(held_out.sum())} images are in the evaluation set as well; they are never chosen")
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


def _thrift(run: RunFile) -> list[str]:
    """What to know of a trial whose budget does not last for one round."""
    left, each = run.most_labels - run.budget, run.budget * len(run.strategies)
    if not run.tries or run.control or run.agent != "pshea" or left >= each:
        return []
    return [
        f"{len(run.strategies)} strategies buy {run.budget} labels each in a round, {each} in all, and max_labels "
        f"leaves {left}: nothing is decided by them; raise max_labels, name fewer strategies, or use agent: shared"
    ]


def _among(pool: Pool, others: Pool) -> npt.NDArray[np.bool_]:
    """(n,) whether each sample is in another pool, by its id or its bytes."""
    ids, digests = set(others.ids.tolist()), set(others.digests.tolist()) - {""}
    both = zip(pool.ids.tolist(), pool.digests.tolist(), strict=True)
    return np.fromiter((one in ids or digest in digests for one, digest in both), dtype=bool, count=len(pool))


def _named(pool: Pool) -> dict[str, list[Any]]:
    return {"id": pool.ids.tolist(), "uri": pool.uris.tolist()}


def _labels(pool: Pool) -> dict[str, list[Any]]:
    return {"label": np.array([*pool.classes, ""], dtype=np.str_)[pool.codes].tolist()}


def _groups(pool: Pool) -> dict[str, list[Any]]:
    return {} if pool.groups is None else {"group": pool.groups.tolist()}


def table_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one of a run's tables."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def table_columns(path: Path, *names: str) -> tuple[list[Any], ...]:
    """Columns of one of a run's tables; a row of a million is not made for them."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(names))
    return tuple(table[name].to_pylist() for name in names)


def table_values(path: Path, ids: Sequence[SampleId], name: str) -> dict[SampleId, Any]:
    """A column of one of a run's tables for some of its samples, by id; the others never become Python objects."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", name])
    kind = table["id"].type
    fitting = [one for one in ids if isinstance(one, int) == pa.types.is_integer(kind)]
    found = table.filter(pc.is_in(table["id"], value_set=pa.array(fitting, kind)))
    return dict(zip(found["id"].to_pylist(), found[name].to_pylist(), strict=True))
