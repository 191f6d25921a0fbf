"""What a run may leave behind: whole runs deleted, and the files that a finished run no longer needs.

Labels are never among it: what people answered stays in the records, and a file that they filled in stays in its inbox.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from foresift.app.models.opening import FORWARD, Model
from foresift.app.pixels.models import DenseModel
from foresift.app.runs.leases import Held, TakenError
from foresift.app.runs.lifecycle import cancel_run, find_run, run_folder
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.jobs import Event
from foresift.core.lineage import ALIASES
from foresift.core.ranges import check_at_least
from foresift.core.rounds import Round, Run
from foresift.stores.files import disk_errors, read_json
from foresift.stores.generations import (
    generation_id,
    is_generation,
    is_segmentation,
    read_generation,
    read_segmentation,
)

_LOOK_EVERY_S, _RELEASE_S = 0.2, 10.0
"""How long a worker that was told to stop may take to let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What of a run is removed, or would be."""

    run: str
    generations: tuple[str, ...]
    """Ids of those whose folders go."""
    files: tuple[Path, ...]
    """Folders and files that go, all of them below the workspace."""
    size_bytes: int
    labels: int
    """That the run's records hold, and keep."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "run": self.run,
            "generations": list(self.generations),
            "files": [str(path) for path in self.files],
            "bytes": self.size_bytes,
            "labels_kept": self.labels,
        }


def delete_run(workspace: Workspace, run: str, *, force: bool = False, dry_run: bool = False) -> Leftovers:
    """Forget a run and remove its files; its labels and the log of its events stay.

    Args:
        run: its id, or the beginning of it.
        force: also one that is not over, whose worker is stopped, or one that holds a generation with an alias.
    Raises:
        UsageError: no such run; or it needs ``force``.
        TakenError: its worker does not let go.
    """
    found = find_run(workspace, run)
    _refuse_unless(force, workspace, found)
    if dry_run:
        return _everything(workspace, found)
    if not found.is_over:
        cancel_run(workspace, found.id)
    with _let_go(workspace, found.id):
        gone = _everything(workspace, found)
        _remove(gone.files)
        records = workspace.records()
        with records.transaction():
            records.add_events([_event("deleted", gone)])
            records.drop_run(found.id)
    return gone


def prune_runs(
    workspace: Workspace, *, keep_last: int | None = None, older_than_days: float | None = None, dry_run: bool = False
) -> list[Leftovers]:
    """Remove what finished runs no longer need: all generations but the last, and cached predictions.

    What remains tells everything: rounds, metrics, labels, and the model that the run was for. A generation that has
    an alias stays.

    Args:
        keep_last: leave so many of the runs that were finished last alone.
        older_than_days: leave those alone that ended since.
    Raises:
        UsageError: not exactly one of them is given, or it is below 0.
    """
    if (keep_last is None) == (older_than_days is None):
        raise UsageError("expected one of --keep-last N and --older-than DAYS")
    check_at_least(0, keep_last=keep_last or 0, older_than=older_than_days or 0)
    runs = workspace.records().runs(state="finished")
    ended = sorted(((_ended(workspace, run), run) for run in runs), key=lambda one: one[0])
    if keep_last is not None:
        asked = ended[: max(0, len(ended) - keep_last)]
    else:
        before = (datetime.now(UTC) - timedelta(days=older_than_days or 0)).isoformat(timespec="seconds")
        asked = [one for one in ended if one[0] < before]
    found = [_superfluous(workspace, run) for _, run in asked]
    found = [one for one in found if one.files]
    if not dry_run:
        for one in found:
            _prune(workspace, one)
    return found


def _prune(workspace: Workspace, gone: Leftovers) -> None:
    with Held(workspace.records(), f"run/{gone.run}"):
        _remove(gone.files)
        workspace.records().add_events([_event("pruned", gone)])


def _refuse_unless(force: bool, workspace: Workspace, run: Run) -> None:
    if force:
        return
    if not run.is_over:
        raise UsageError(
            f"run {run.id} is {run.state}; foresift runs cancel {run.id} stops it, or --force deletes it as it is"
        )
    if held := [one for one in _generations(run_folder(workspace, run.id)) if one in _promoted(workspace)]:
        raise UsageError(f"generation {held[0][:12]} of run {run.id} has an alias; --force deletes it all the same")


@contextmanager
def _let_go(workspace: Workspace, run: str) -> Iterator[None]:
    """Hold a run, as soon as its worker has let go of it."""
    deadline = time.monotonic() + _RELEASE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(Held(workspace.records(), f"run/{run}"))
                break
            except TakenError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_EVERY_S)
        yield


def _everything(workspace: Workspace, run: Run) -> Leftovers:
    folder = run_folder(workspace, run.id)
    generations = _generations(folder)
    files = [*([folder] if folder.is_dir() else []), *_predictions(workspace, generations.values())]
    return _leftovers(workspace, run, generations, files)


def _superfluous(workspace: Workspace, run: Run) -> Leftovers:
    folder, rounds = run_folder(workspace, run.id), workspace.records().rounds(run.id)
    every = _generations(folder)
    kept = _promoted(workspace) | _last(rounds)
    gone = {name: place for name, place in every.items() if name not in kept}
    return _leftovers(workspace, run, gone, [*gone.values(), *_predictions(workspace, every.values())])


def _leftovers(workspace: Workspace, run: Run, generations: Mapping[str, Path], files: Sequence[Path]) -> Leftovers:
    return Leftovers(
        run=run.id,
        generations=tuple(sorted(generations)),
        files=tuple(files),
        size_bytes=sum(_size(path) for path in files),
        labels=len(workspace.records().labels(run=run.id, current=False)),
    )


def _generations(folder: Path) -> dict[str, Path]:
    """The generations that a run has trained, by id."""
    found = sorted(path for path in (folder / "generations").glob("*") if is_generation(path))
    return {generation_id(path): path for path in found}


def _last(rounds: Sequence[Round]) -> set[str]:
    """The model that a run ended with; where several strategies were tried, that of each."""
    trained = [one for one in rounds if one.generation]
    chosen = [one for one in trained if one.details.get("turn", 0)] or trained[-1:]
    return {str(generation) for generation in {one.strategy: one.generation for one in chosen}.values()}


def _promoted(workspace: Workspace) -> set[str]:
    """Generations that have an alias now."""
    held = [workspace.descents.alias(name) for name in ALIASES]
    return {promotions[-1]["generation"] for promotions in held if promotions}


def _predictions(workspace: Workspace, generations: Iterable[Path]) -> list[Path]:
    """What is cached of the predictions of models alone; it can be computed again from models and images.

    What several models share, the embeddings of a backbone, is left.
    """
    keys = {key for folder in generations if (key := _own_key(folder))}
    records = sorted(path for part in ("predictions", "grids") for path in (workspace.cache / part).glob("*.json"))
    found = [path for path in records if read_json(path).get("model") in keys]
    return [part for path in found for part in (path, path.with_suffix(".lance")) if part.exists()]


def _own_key(folder: Path) -> str:
    """The key of what a model alone predicts; "" where its backbone may be others' too."""
    if is_segmentation(folder):
        return DenseModel(folder=folder, generation=read_segmentation(folder)).key
    model = Model(folder=folder, generation=read_generation(folder))
    return model.key if model.stage == FORWARD else ""


def _remove(files: Sequence[Path]) -> None:
    for path in files:
        with disk_errors(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    every = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in every if one.is_file())


def _ended(workspace: Workspace, run: Run) -> str:
    """When the last thing happened in a run: ISO 8601 in UTC, which sorts like time."""
    return max((one.at for one in workspace.records().events(run.id)), default=run.created_at) or run.created_at


def _event(kind: str, gone: Leftovers) -> Event:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Event(run=gone.run, kind=kind, at=at, values=gone.to_dict())
