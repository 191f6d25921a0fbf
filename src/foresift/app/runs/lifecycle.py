"""Runs: started from a file, carried on by one worker at a time, looked at, cancelled and resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from foresift.app.generations.descent import checked_target
from foresift.app.runs.answered import RunAnswers
from foresift.app.runs.files import RunFile, read_as_classes, read_run_file
from foresift.app.runs.inheriting import ancestor_of, bequeathed
from foresift.app.runs.leases import Held
from foresift.app.runs.outcomes import outcome_line, record_outcomes
from foresift.app.runs.plans import make_plan
from foresift.app.runs.pool_files import CANDIDATES, RunPool, kept_pool, table_columns
from foresift.app.runs.pools import check_left, images_of, run_pool
from foresift.app.runs.tasks import command
from foresift.app.runs.work import Effects, check_file
from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError, StaleError, StoreError, UnknownRecordError, UsageError
from foresift.core.jobs import Event
from foresift.core.lineage import ALIASES
from foresift.core.protocols import Progress, Silent
from foresift.core.records import PoolSample, Records
from foresift.core.rounds import Round, Run
from foresift.cycle.runs import Step, advance_run
from foresift.executors import Child, ChildDiedError, StoppedError
from foresift.sources import open_source

T = TypeVar("T")
RETRIES = 3
"""Times that a task is tried whose process died."""
AWAY_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses before a store that can't be reached is tried again."""
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told how a run goes."""

    progress: Progress = field(default_factory=Silent)
    done: Callable[[Run, Sequence[Round]], None] = lambda _run, _rounds: None
    """Called after every round that is done, with all rounds so far."""
    note: Callable[[str], None] = lambda _text: None
    """Called with remarks, such as why something is tried again."""


def start_run(workspace: Workspace, file: str | Path | RunFile, *, watch: Watch | None = None) -> Run:
    """The run of a file: made the first time, found again ever after; nothing is selected yet.

    Raises:
        UsageError: the file, or what it asks for, makes no sense, an unknown model or device too; nothing was stored.
        ForesiftError: as :func:`foresift.app.runs.pools.run_pool`.
    """
    if not isinstance(file, RunFile) and (begun := _begun_with_classes(workspace, file)):
        return begun
    asked = _settled(workspace, file if isinstance(file, RunFile) else read_run_file(file))
    name = open_source(images_of(asked)).name
    run = asked.identity(name)
    if kept_pool(run_folder(workspace, run)) is None:
        checked_target(workspace, asked.hardware)
        with Child(command()) as child:
            check_file(child, workspace, asked)
    pool = run_pool(workspace, run_folder(workspace, run), asked, progress=(watch or Watch()).progress)
    make_plan(asked, pool)
    config = {**asked.to_dict(), "classes": pool.classes}  # as far as anybody knows them
    added = Run(id=run, config=config, pool=pool.name, pool_version=pool.version, created_at=_now())
    records = workspace.records()
    with suppress(UnknownRecordError):  # its samples were remembered before it was added
        return records.run(run)
    _remember_samples(records, pool.name, run_folder(workspace, run))
    labels = []
    if asked.inherit:
        labels = bequeathed(workspace, asked, added, run_folder(workspace, run))
        check_left(asked, pool, len(labels))
    try:
        with records.transaction():
            stored = records.add_run(added)
            records.add_labels(labels)
        return stored
    except StaleError:  # added by an earlier version, whose configuration has other keys
        return records.run(run)


def _begun_with_classes(workspace: Workspace, file: str | Path) -> Run | None:
    """The run that a version that knew no masks began with a file; None if there is none."""
    if (earlier := read_as_classes(file)) is None:
        return None
    try:
        name = open_source(earlier.pool).name
    except ForesiftError:  # what can't be opened so was not begun so
        return None
    with suppress(UnknownRecordError):
        return workspace.records().run(_settled(workspace, earlier).identity(name))
    return None


def _settled(workspace: Workspace, file: RunFile) -> RunFile:
    """The file with generations in place of aliases and runs, which may mean others tomorrow."""
    if file.model in ALIASES:
        file = replace(file, model=str(workspace.generation_folder(file.model)))
    return replace(file, inherit=ancestor_of(workspace, file.inherit).generation) if file.inherit else file


def carry_on(workspace: Workspace, run: str, *, watch: Watch | None = None) -> Run:
    """Work on a run until it is over or waits for labels; the stored run.

    Killed at any moment and called again, it goes on where it was.

    Raises:
        TakenError: another worker has it.
        ForesiftError: what went wrong; a run that can't go on is ``failed`` with the reason until it is resumed.
    """
    records = workspace.records()
    told = watch or Watch()
    with Held(records, f"run/{run}") as held, Child(command()) as child:
        current = _stored(records, run, "running")
        if current.is_over:
            return current
        worker = _Worker(workspace, records, current, held, child, told)
        try:
            return worker.work()
        except StoreError:  # of the disk or the database, not of the run
            raise
        except ForesiftError as error:
            _stored(records, run, "failed", reason=str(error))
            raise


def cancel_run(workspace: Workspace, run: str) -> Run:
    """A run that nobody works on any more; its worker, wherever it is, kills what it is doing.

    Raises:
        UnknownRecordError: no such run.
    """
    return _stored(workspace.records(), find_run(workspace, run).id, "cancelled", reason="cancelled by request")


def reopen(workspace: Workspace, run: str) -> Run:
    """A run that was cancelled or failed, ready to be carried on; others stay as they are."""
    records = workspace.records()
    while (current := records.run(find_run(workspace, run).id)).state in ("cancelled", "failed"):
        try:
            return records.change_run(replace(current, state="running", reason=""))
        except StaleError:
            continue
    return current


def find_run(workspace: Workspace, run: str) -> Run:
    """The run of an id, or of the beginning of one.

    Raises:
        UsageError: none, or several.
    """
    found = [one for one in workspace.records().runs() if one.id.startswith(run)] if run else []
    if len(found) != 1:
        what = "is the beginning of several runs" if found else "is no run of this workspace"
        raise UsageError(f"{run!r} {what}; foresift runs list names them (or give another --home)")
    return found[0]


def run_folder(workspace: Workspace, run: str) -> Path:
    """Where the files of a run lie: its pool as it first saw it, labels, generations."""
    return workspace.home / "runs" / run


def run_file_of(run: Run) -> RunFile:
    """What was asked for."""
    return RunFile.from_dict(run.config)


def pool_of(workspace: Workspace, run: Run) -> RunPool:
    """The pool of a run as it first saw it."""
    return run_pool(workspace, run_folder(workspace, run.id), run_file_of(run))


class _Worker:
    """This process at work on a run."""

    def __init__(
        self, workspace: Workspace, records: Records, run: Run, held: Held, child: Child, watch: Watch
    ) -> None:
        self._records, self._run, self._held, self._watch = records, run.id, held, watch
        folder, file, pool = run_folder(workspace, run.id), run_file_of(run), pool_of(workspace, run)
        self._workspace, self._file = workspace, file
        self._plan, self._looked = make_plan(file, pool), 0.0
        self._effects = Effects(
            workspace=workspace,
            records=records,
            run=run.id,
            file=file,
            pool=pool,
            folder=folder,
            child=child,
            answers=RunAnswers(
                workspace=workspace,
                records=records,
                run=run,
                pool=pool,
                file=file,
                folder=folder,
                now=_now,
                note=watch.note,
            ),
            progress=watch.progress,
            should_stop=self._unwanted,
            note=watch.note,
        )

    def work(self) -> Run:
        """Steps until the run is over or waits."""
        self._tried(self._effects.check)
        rounds = self._records.rounds(self._run)
        done = _count_done(rounds)
        self._judge(rounds)
        decided = _count_decided(self._records.run(self._run))
        while not self._held.lost:
            step = self._tried(self._step)
            rounds = self._records.rounds(self._run)
            for line in filter(None, _decisions(step.run)[decided:]):
                self._watch.note(line)
            decided = _count_decided(step.run)
            if _count_done(rounds) > done:
                done = _count_done(rounds)
                self._judge(rounds)
                self._watch.done(step.run, rounds)
            if step.run.is_over:
                return step.run
            if not step.moved:
                return _stored(self._records, self._run, "waiting", reason=self._effects.answers.missing(rounds))
        raise StoreError(f"another worker has taken over run {self._run}; foresift runs show {self._run} follows it")

    def _judge(self, rounds: Sequence[Round]) -> None:
        """Keep what came of predictions; that they can't be read or written holds no run up."""
        try:
            outcomes = record_outcomes(self._workspace, self._run, self._file, rounds)
        except ForesiftError as error:
            self._watch.note(str(error))
            return
        for one in outcomes:
            self._watch.note(outcome_line(one))

    def _step(self) -> Step:
        try:
            return advance_run(self._records, self._run, self._plan, self._effects, clock=_now)
        except StoppedError:
            return Step(self._records.run(self._run), moved=True)

    def _tried(self, act: Callable[[], T]) -> T:
        """What an action gives; it is repeated if its process died, or while the store is away."""
        died, away = 0, list(AWAY_S)
        while True:
            try:
                return act()
            except ChildDiedError as error:
                died += 1
                if died >= RETRIES:
                    raise
                self._retry(str(error))
            except StoreError as error:
                if not away or "space" in str(error):
                    raise
                self._watch.note(f"{error}; trying again")
                time.sleep(away.pop(0))

    def _retry(self, reason: str) -> None:
        self._watch.note(f"{reason}; trying again")
        self._records.add_events([Event(run=self._run, kind="retry", at=_now(), values={"reason": reason})])

    def _unwanted(self) -> bool:
        """Whether the run was cancelled, or is another worker's by now; looked up twice a second."""
        if self._held.lost:
            return True
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return False
        self._looked = time.monotonic()
        try:
            return self._records.run(self._run).is_over
        except StoreError:  # the lease decides when to give up
            return False


def _stored(records: Records, run: str, state: str, *, reason: str = "") -> Run:
    """The run in another state, unless it is over."""
    while True:
        current = records.run(run)
        if current.is_over or (current.state, current.reason) == (state, reason):
            return current
        try:
            return records.change_run(replace(current, state=state, reason=reason))
        except StaleError:  # look again: it may be over now
            continue


def _remember_samples(records: Records, pool: str, folder: Path) -> None:
    """Keep ids and addresses, so that labels find their samples without anybody opening the pool again."""
    ids, uris = table_columns(folder / CANDIDATES, "id", "uri")
    records.add_samples(pool, (PoolSample(id=one, uri=uri) for one, uri in zip(ids, uris, strict=True)))


def _count_done(rounds: Sequence[Round]) -> int:
    return sum(one.state == "done" for one in rounds)


def _count_decided(run: Run) -> int:
    return 0 if run.trial is None else len(run.trial["decisions"])


def _decisions(run: Run) -> list[str]:
    """What an agent decided, in lines; "" where a round says it already."""
    decided = [] if run.trial is None else run.trial["decisions"]
    told = ("eliminate", "keep", "draw", "skip")
    return [
        " ".join(filter(None, (one["action"], one["strategy"]))) + f": {one['reason']}" if one["action"] in told else ""
        for one in decided
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
