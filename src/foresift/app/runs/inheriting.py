"""``foresift inherit``: a new architecture learns from the labels that its ancestors' surrogates chose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foresift.app.generations.descent import find, folder_of, known, require_line
from foresift.app.pools import open_pool
from foresift.app.runs.files import RunFile
from foresift.app.runs.plans import make_trial_agent
from foresift.app.runs.pool_files import CANDIDATES, table_rows
from foresift.app.training.request import Trained, TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.errors import LabelError, ModelError, UsageError
from foresift.core.generations import Generation
from foresift.core.labels import LabelRecord
from foresift.core.lineage import Descent, Heritage
from foresift.core.rounds import Round, Run
from foresift.core.samples import Pool
from foresift.cycle.trials import Trial
from foresift.sources.tables import read_table
from foresift.stores.descents import LABEL_COLUMNS
from foresift.stores.generations import read_generation
from foresift.stores.tables import write_rows

_KEY = 16
INHERITED = "inherited.csv"
"""In the folder of a run: the labels that it began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """The labels of a line of generations, as a labels file."""

    ancestor: Descent
    labels: Path
    """``id, uri, label, receipt``."""
    pool: str
    """Where the labeled images lie."""
    count: int
    classes: tuple[str, ...]
    """Those of the ancestor, then those that only labels name."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritRequest:
    """Who inherits from whom."""

    ancestor: str
    """A generation, an alias, or a run, whose last generation is meant."""
    training: TrainRequest
    """Of the heir; its labels and heritage are filled in."""
    data: str = ""
    """Where the images lie; "" = where the ancestor learned."""
    target: str = ""
    """Device that the heir is meant for."""


def inherit(workspace: Workspace, request: InheritRequest) -> tuple[Inheritance, Trained]:
    """Train an architecture on everything that its ancestors learned from.

    Raises:
        UsageError: no such run or generation.
        ModelError: the ancestor is a segmentation model; or one of the line was deleted, or another lies in its folder.
        LabelError: nothing to inherit, or the pool has other classes.
    """
    found = inheritance(workspace, request.ancestor, data=request.data, image_size=request.training.image_size)
    heritage = Heritage(
        target=request.target, heir_of=found.ancestor.generation, receipts=()
    )  # each label names its own
    classes = request.training.classes or found.classes
    training = replace(request.training, labels=found.labels, heritage=heritage, classes=classes)
    return found, train(workspace, found.pool, training)


def inheritance(workspace: Workspace, ancestor: str, *, data: str, image_size: int | None) -> Inheritance:
    """The labels of a generation and of all its ancestors; where they differ, the nearer one's counts.

    Raises:
        as :func:`inherit`.
    """
    descent = ancestor_of(workspace, ancestor)
    generation = read_generation(folder_of(descent))
    line = (descent.generation, *require_line(workspace, descent.generation))
    place = data or str(generation.data.get("pool", ""))
    if not place:
        raise LabelError(f"generation {descent.generation[:12]} was made without a pool; say where its images lie")
    pool = open_pool(workspace, place)
    _refuse_other(pool, generation, data=data, image_size=image_size)
    every = known(workspace)
    rows, notes = _united(workspace, [one for one in line if not every[one].has_masks], pool)
    if not rows:
        raise LabelError(
            f"no label to inherit: none of the {len(line)} generations of this line learned from images of {pool.name}"
        )
    classes = tuple(dict.fromkeys((*generation.classes, *sorted({row["label"] for row in rows}))))
    key = digest_value([list(row.values()) for row in rows])[:_KEY]
    out = workspace.home / "generations" / "inherited" / f"{key}.csv"
    if not out.is_file():
        write_rows(out, rows, LABEL_COLUMNS)
    return Inheritance(ancestor=descent, labels=out, pool=place, count=len(rows), classes=classes, notes=notes)


def ancestor_of(workspace: Workspace, spec: str) -> Descent:
    """The generation that is meant by a generation's name or by a run.

    Raises:
        UsageError: neither, or a run that has no generation yet.
        ModelError: a segmentation model.
    """
    found = _meant(workspace, spec)
    if found.has_masks:
        raise ModelError(
            f"generation {found.generation[:12]} is a segmentation model, and masks can't be inherited yet; train on "
            "its images and masks: foresift train DATA --task segmentation"
        )
    return found


def _meant(workspace: Workspace, spec: str) -> Descent:
    try:
        return find(workspace, spec)
    except ModelError as error:
        run = _run(workspace, spec)
        if run is None:
            raise error from None
    made = _kept(run, workspace.records().rounds(run.id))
    if not made:
        raise UsageError(f"run {run.id} has no generation yet; foresift runs resume {run.id} goes on with it")
    every = known(workspace)
    if made[-1] not in every:
        raise ModelError(f"generation {made[-1][:12]} of run {run.id} is not in this workspace any more")
    return every[made[-1]]


def _kept(run: Run, rounds: Sequence[Round]) -> list[str]:
    """The generations of a run in order; of several strategies that were tried, those of the one that it recommends."""
    file, done = RunFile.from_dict(run.config), [one for one in rounds if one.generation]
    if run.trial is not None and file.agent != "shared" and (trial := Trial.from_dict(run.trial)).turns:
        best = make_trial_agent(file).answer(trial).strategy
        done = [one for one in done if one.strategy == best] or done
    return [str(one.generation) for one in done]


def _run(workspace: Workspace, spec: str) -> Run | None:
    """The run of an id or of the beginning of one; None without exactly one."""
    if os.sep in spec:
        return None
    found = [one for one in workspace.records().runs() if spec and one.id.startswith(spec)]
    return found[0] if len(found) == 1 else None


def bequeathed(workspace: Workspace, file: RunFile, run: Run, folder: Path) -> list[LabelRecord]:
    """The labels that a run begins with, as free answers; the same as a labels file in its folder.

    Only of samples that the run may choose: nothing that it is measured on.

    Raises:
        as :func:`inheritance`.
    """
    side = file.image_size if isinstance(file.image_size, int) else None  # labels that are masks are not inherited
    found = inheritance(workspace, file.inherit, data=file.pool, image_size=side)
    ids = {str(row["id"]): row["id"] for row in table_rows(folder / CANDIDATES)}
    table = read_table(str(found.labels.absolute()), wanted=LABEL_COLUMNS)
    columns = [table.texts(name) or [""] * len(table) for name in LABEL_COLUMNS[1:]]
    rows = [
        dict(zip(LABEL_COLUMNS, (str(sample), *more), strict=True))
        for sample, *more in zip(table.ids() or [], *columns, strict=True)
        if str(sample) in ids
    ]
    if not rows:
        raise LabelError(f"none of the {found.count} labels to inherit is of a sample that the run may choose")
    write_rows(folder / INHERITED, rows, LABEL_COLUMNS)
    source = f"generation {file.inherit}"
    return [
        LabelRecord(sample_id=ids[row["id"]], value=row["label"], pool=run.pool, run=run.id, source=source)
        for row in rows
    ]


def inherited_receipts(folder: Path) -> list[str]:
    """The receipts behind the labels that a run began with, in order of their first label; [] for a run without."""
    path = folder / INHERITED
    if not path.is_file():
        return []
    return list(dict.fromkeys(filter(None, read_table(str(path), wanted=("id", "receipt")).texts("receipt") or [])))


def _refuse_other(pool: Pool, generation: Generation, *, data: str, image_size: int | None) -> None:
    """Raise for a pool that the ancestor could not have chosen from.

    Raises:
        LabelError: it has other classes.
        UsageError: its images are of another size, and nobody said at which size to learn.
    """
    extra = [name for name in pool.classes if name not in generation.classes]
    if extra and not set(generation.classes) <= set(pool.classes):
        raise LabelError(
            f"{pool.name} has classes ({', '.join(extra[:5])}) that generation {generation.id[:12]} does not know "
            f"({', '.join(generation.classes[:10])}); what it chose says nothing of them: take a pool of its classes"
        )
    if data and image_size is None and pool.name != generation.data.get("pool"):
        from foresift.app.training.images import common_side

        side = common_side(pool)
        if side is not None and side != generation.transform.size:
            raise UsageError(
                f"the images of {pool.name} are {side} px wide, generation {generation.id[:12]} chose among images of "
                f"{generation.transform.size} px; if they show the same, give --image-size"
            )


def _united(workspace: Workspace, line: Sequence[str], pool: Pool) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """One row a sample of the pool, in order of id, and what to know of the rest."""
    found: dict[str, dict[str, Any]] = {}
    contradicted = 0
    for generation in line:
        for row in workspace.descents.labels(generation):
            held = found.setdefault(row["id"], row)
            contradicted += held["label"] != row["label"]
            if not held["receipt"] and held["label"] == row["label"]:
                found[row["id"]] = row
    there = {str(one) for one in pool.ids.tolist()}
    rows = [found[sample] for sample in sorted(found) if sample in there]
    notes = []
    if contradicted:
        notes.append(f"{contradicted} older labels say something else; those of the younger generation count")
    if len(rows) < len(found):
        notes.append(f"{len(found) - len(rows)} labels are of samples that are not in {pool.name}")
    return rows, tuple(notes)
