"""Generations are registered with what they come from, and their lines are followed back."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foresift.app.generations.origins import Picks, brought, origins, surrogates_of
from foresift.app.models.opening import Model
from foresift.app.training.request import Trained, TrainRequest
from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError, MissingExtraError, ModelError, StoreError, UnknownNameError, UsageError
from foresift.core.generations import Generation
from foresift.core.lineage import ALIASES, Descent, Heritage
from foresift.core.samples import Pool
from foresift.core.times import utc_now
from foresift.lineage.ancestry import ages, ancestors, refuse_cycle
from foresift.stores.generations import displaced, is_generation, read_any, require_same

if TYPE_CHECKING:
    from foresift.app.pixels.models import DenseModel
    from foresift.app.pixels.training_request import SegmentationRequest, SegmentationTrained
    from foresift.core.segmentation import SegmentationGeneration


def register(
    workspace: Workspace,
    trained: Trained | SegmentationTrained,
    pool: Pool,
    request: TrainRequest | SegmentationRequest,
    *,
    parent: Model | DenseModel | None,
    whole: Pool | None = None,
) -> Descent:
    """Record what a generation learned from and who chose it; said before, it stays as it was.

    A target that is named only later is kept; of two that differ, the first.

    Args:
        pool: its labeled samples are what it learned from; of masks as :func:`foresift.app.pixels.learned.learned_from`
            has it.
        whole: the pool with all labels of the request, where it learned from some of them.
    Raises:
        ModelError: it would descend from itself.
    """
    heritage, every = request.heritage, known(workspace)
    descent = Descent(
        generation=trained.generation.id,
        folder=str(trained.folder.absolute()),
        at=utc_now(),
        run=heritage.run,
        target=heritage.target,
        heir_of=heritage.heir_of,
        record=trained.generation.to_dict(),
    )
    refuse_cycle(descent, every)
    if descent.generation in every and every[descent.generation].at:
        return workspace.descents.note(descent)  # no more than where it lies now, and a target that nobody named before
    heirs = {descent.generation, *(one for one in every if descent.generation in ancestors(one, every))}
    found = origins(
        workspace, pool if whole is None else whole, request.labels, receipts=heritage.receipts, heirs=heirs
    )
    broken = {one.uri for one in trained.quarantined}
    rows = [row for row in pool.labeled.nonzero()[0].tolist() if str(pool.uris[row]) not in broken]
    descent = replace(descent, brought=brought((str(pool.ids[row]) for row in rows), found))
    refuse_cycle(descent, every)
    _note_ancestors(workspace, parent, found)
    workspace.descents.keep_labels(descent.generation, [_label(pool, row, found) for row in rows])
    return workspace.descents.note(descent)


def other_target(kept: Descent, heritage: Heritage) -> tuple[str, ...]:
    """A note where a generation was registered for another target than the one named now; () elsewhere."""
    if heritage.target in ("", kept.target):
        return ()
    return (f"this generation was registered as meant for {kept.target}, and stays so: {heritage.target} is not kept",)


def known(workspace: Workspace) -> dict[str, Descent]:
    """Every generation that the workspace knows, by id, the earlier registered first."""
    return {one.generation: one for one in workspace.descents.all()}


class Quality(NamedTuple):
    """How good a generation is."""

    measure: str
    """For people: ``top-1``, of a segmentation model ``mIoU``."""
    value: float
    """Within [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A generation in its line, for people to read."""

    descent: Descent
    number: int
    """1 = the first of its line."""
    aliases: tuple[str, ...]
    there: bool
    """Whether its folder still holds it."""
    metrics: dict[str, Any]
    """As its record has them, and under ``evaluation`` what the run that trained it measured."""

    @property
    def quality(self) -> Quality | None:
        """On the validation set of its training, else on the evaluation set of its run; None without either."""
        measured = self.metrics.get("val") or self.metrics.get("evaluation") or {}
        name, measure = ("miou", "mIoU") if self.descent.has_masks else ("top1", "top-1")
        return None if measured.get(name) is None else Quality(measure, float(measured[name]))

    @property
    def measured_on(self) -> str:
        """What :attr:`quality` was measured on, for people."""
        if self.metrics.get("val"):
            return str(self.descent.record["data"]["val"]["pool"])
        return f"the evaluation set of run {self.descent.run}"


def members(workspace: Workspace, spec: str | None = None) -> list[Member]:
    """All generations, or one and everything that it comes from; ancestors first.

    Ancestors that the workspace has lost are named all the same.

    Raises:
        ModelError: no such generation, or a line that leads back to itself.
    """
    one = None if spec is None else find(workspace, spec)  # may note it, or where it lies now
    every = known(workspace)
    wanted = set(every) if one is None else {one.generation, *ancestors(one.generation, every)}
    named = {above for one in every.values() for above in one.ancestors if spec is None or one.generation in wanted}
    lost = {one: Descent(generation=one, folder="") for one in sorted((named & wanted if spec else named) - set(every))}
    graph = {**lost, **every}
    number = ages(graph)
    names = holders(workspace)
    measured = _measured(workspace, {graph[one].run for one in wanted if one in graph and graph[one].run})
    found = [
        Member(
            descent=graph[one],
            number=number[one],
            aliases=tuple(name for name, holder in names.items() if holder == one),
            there=_is_there(graph[one]),
            metrics={**graph[one].record.get("metrics", {}), **measured.get(one, {})},
        )
        for one in graph
        if one in wanted or one in lost
    ]
    return sorted(found, key=lambda one: (one.number, one.descent.at, one.descent.generation))


def holders(workspace: Workspace) -> dict[str, str]:
    """The generation that has each alias now."""
    given = {name: workspace.descents.alias(name) for name in ALIASES}
    return {name: str(promotions[-1]["generation"]) for name, promotions in given.items() if promotions}


def find(workspace: Workspace, spec: str | Path) -> Descent:
    """What is remembered of a generation: by alias, id, the beginning of an id, or folder.

    A folder is noted where the workspace has not seen its generation, or no longer finds it where it lay.

    Raises:
        ModelError: none of them, or one that this workspace has not seen.
        UsageError: the beginning of several ids.
    """
    every = known(workspace)
    name = holders(workspace).get(str(spec), str(spec))
    if begun := [one for key, one in every.items() if len(name) >= 8 and key.startswith(name)]:
        if len(begun) > 1:
            ids = ", ".join(one.generation[:12] for one in begun)
            raise UsageError(f"generation id {name} is ambiguous: {ids}")
        return begun[0]
    folder = workspace.generation_folder(spec)
    generation = read_any(folder)
    if generation.id in every and _is_there(every[generation.id]):
        return every[generation.id]
    workspace.note_generation(generation, folder)
    return known(workspace)[generation.id]


def folder_of(descent: Descent) -> Path:
    """Where a generation lies.

    Raises:
        ModelError: another one has taken its place.
    """
    return require_same(Path(descent.folder), descent.generation)


def _measured(workspace: Workspace, runs: Set[str]) -> dict[str, dict[str, Any]]:
    """What runs measured of the generations that they trained; nothing where the records can't be read."""
    if not runs:
        return {}
    try:
        records = workspace.records()
        rounds = [one for run in sorted(runs) for one in records.rounds(run)]
    except (MissingExtraError, StoreError):
        return {}
    return {one.generation: {"evaluation": dict(one.metrics)} for one in rounds if one.generation and one.metrics}


def _is_there(descent: Descent) -> bool:
    folder = Path(descent.folder) if descent.folder else None
    return folder is not None and is_generation(folder) and not displaced(folder, descent.generation)


def _label(pool: Pool, row: int, found: dict[str, Picks]) -> dict[str, Any]:
    sample = str(pool.ids[row])
    return {
        "id": sample,
        "uri": str(pool.uris[row]),
        "label": pool.classes[pool.codes[row]],
        "receipt": found[sample].id if sample in found else "",
    }


def _note_ancestors(workspace: Workspace, parent: Model | DenseModel | None, found: dict[str, Picks]) -> None:
    """Remember the parent and the surrogates too where this workspace has not met them yet."""
    every = known(workspace)
    if parent is not None and parent.generation.id not in every:
        workspace.note_generation(parent.generation, parent.folder)
    lying = {
        one: at
        for picks in {id(p): p for p in found.values()}.values()
        for one, at in surrogates_of(picks.receipt).items()
    }
    for one, folder in lying.items():
        if one not in every and folder:
            generation = _read(Path(folder))
            if generation is not None and generation.id == one:
                workspace.note_generation(generation, Path(folder))


def _read(folder: Path) -> Generation | SegmentationGeneration | None:
    """The generation in a folder; None where there is none any more."""
    try:
        return read_any(folder)
    except ForesiftError:
        return None


def require_line(workspace: Workspace, generation: str) -> tuple[str, ...]:
    """The ancestors of a generation, each of which the workspace must know.

    Raises:
        ModelError: one that was deleted.
    """
    every = known(workspace)
    line = ancestors(generation, every)
    if lost := [one for one in line if one not in every]:
        raise ModelError(
            f"ancestor {lost[0][:12]} of generation {generation[:12]} is not in this workspace any more, so the labels "
            "that it learned from are not known; bring it back with foresift restore, or train on a labels file"
        )
    return line


def checked_target(workspace: Workspace, target: str) -> str:
    """The name of a device of the table; "" stays.

    Raises:
        UnknownNameError: there is none of that name.
    """
    from foresift.app.generations.hardware import known_devices

    if target and target not in (names := [device.name for device in known_devices(workspace)]):
        raise UnknownNameError("device", target, names)
    return target
