"""``foresift inherit``: a new architecture learns from the labels that its ancestors' surrogates chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foresift.app.descent import find, known, require_line
from foresift.app.pools import open_pool
from foresift.app.runs import find_run
from foresift.app.training import Trained, TrainRequest, train
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.errors import LabelError, ModelError, UsageError
from foresift.core.generations import Generation
from foresift.core.lineage import Descent, Heritage
from foresift.core.samples import Pool
from foresift.stores.descents import LABEL_COLUMNS
from foresift.stores.generations import read_generation
from foresift.stores.tables import write_rows

_KEY = 16


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
        ModelError: the ancestor or one of its line was deleted.
        LabelError: nothing to inherit, or the pool has other classes.
    """
    found = inheritance(workspace, request.ancestor, data=request.data, image_size=request.training.image_size)
    heritage = Heritage(target=request.target, heir_of=found.ancestor.generation)
    classes = request.training.classes or found.classes
    training = replace(request.training, labels=found.labels, heritage=heritage, classes=classes)
    return found, train(workspace, found.pool, training)


def inheritance(workspace: Workspace, ancestor: str, *, data: str, image_size: int | None) -> Inheritance:
    """The labels of a generation and of all its ancestors; where they differ, the nearer one's counts.

    Raises:
        as :func:`inherit`.
    """
    descent = ancestor_of(workspace, ancestor)
    generation = read_generation(Path(descent.folder))
    line = (descent.generation, *require_line(workspace, descent.generation))
    place = data or str(generation.data.get("pool", ""))
    if not place:
        raise LabelError(f"generation {descent.generation[:12]} was made without a pool; say where its images lie")
    pool = open_pool(workspace, place)
    _refuse_other(pool, generation, data=data, image_size=image_size)
    rows, notes = _united(workspace, line, pool)
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
    """
    try:
        return find(workspace, spec)
    except ModelError as error:
        try:
            run = find_run(workspace, spec)
        except UsageError:
            raise error from None
    made = [one.generation for one in workspace.records().rounds(run.id) if one.generation]
    if not made:
        raise UsageError(f"run {run.id} has no generation yet; foresift runs resume {run.id} goes on with it")
    every = known(workspace)
    if made[-1] not in every:
        raise ModelError(f"generation {made[-1][:12]} of run {run.id} is not in this workspace any more")
    return every[made[-1]]


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
        from foresift.app.images import common_side

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
