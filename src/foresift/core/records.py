"""What a workspace remembers, as logic asks for it; every back end keeps the same promises.

- All methods may be called by any number of threads and processes at once. A method happens whole or not at all,
  and what it returned is still there after a crash.
- A record is *fenced*: whoever changes it gives the version that he saw, and the stored one becomes that plus 1;
  if somebody else was first, nothing happens and :class:`~foresift.core.errors.StaleError` is raised.
- What is added twice under one id is there once.
- Values in mappings are plain (what JSON holds); a mapping that was given or returned may be changed by its owner
  without any effect on the store.
- Whatever can't be reached or written raises :class:`~foresift.core.errors.StoreError`, which says what to do.
"""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from foresift.core.jobs import Event, Job, Lease
from foresift.core.labels import Disagreement, LabelRecord
from foresift.core.rounds import Round, Run, SampleId, check_one_of, check_text

ENTRY_KINDS = ("pool", "generation", "receipt")


class Added(NamedTuple):
    """What became of labels that were delivered."""

    new: int
    repeated: int
    """Answers that were there already, or say what their annotator said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A pool version, generation or receipt that lies in a file: where it comes from, and where it is found."""

    kind: str
    """``pool``, ``generation`` or ``receipt``."""
    id: str
    parents: tuple[str, ...] = ()
    """Ids of entries that it was made from."""
    run: str | None = None
    """Id of the run that made it."""
    at: str = ""
    """ISO 8601, UTC."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Name, folder, counts, metrics; plain values."""

    def __post_init__(self) -> None:
        check_one_of("kind of an entry", self.kind, ENTRY_KINDS)
        check_text("id of an entry", self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSample:
    """A sample of a pool as the workspace remembers it."""

    id: SampleId
    uri: str
    digest: str = ""
    """Content digest; "" while nobody had to read the bytes."""


class RunRecords(Protocol):
    """Runs and their rounds."""

    def add_run(self, run: Run) -> Run:
        """Keep a new run (its version is 0), or find it there already; returns the stored one.

        Raises:
            StaleError: another run (other config or pool) has that id.
        """
        ...

    def run(self, run: str) -> Run:
        """The stored run of an id.

        Raises:
            UnknownRecordError: there is none.
        """
        ...

    def runs(self, *, state: str | None = None, limit: int | None = None, after: str | None = None) -> tuple[Run, ...]:
        """Runs in the order in which they were added; ``after`` the run of that id."""
        ...

    def change_run(self, run: Run) -> Run:
        """Store a changed run, fenced; config, pool and creation stay as they were. Returns the stored one.

        Raises:
            StaleError: somebody else changed it first; read it again.
            UnknownRecordError: there is none of that id.
        """
        ...

    def add_round(self, round: Round) -> Round:
        """Keep a new round (its version is 0), or find it there already; returns the stored one.

        There already means: the stored round was added with the same values, whatever became of it since.

        Raises:
            StaleError: another round has that number, or the number does not follow the last one.
            UnknownRecordError: there is no such run.
        """
        ...

    def change_round(self, round: Round) -> Round:
        """Store a changed round, fenced; returns the stored one. Raises as :meth:`change_run`."""
        ...

    def rounds(self, run: str) -> tuple[Round, ...]:
        """Rounds of a run, the first one first; none if there is no such run."""
        ...

    def drop_run(self, run: str) -> bool:
        """Forget a run that is over and its rounds; its labels and events stay. Returns whether it went."""
        ...


class LabelRecords(Protocol):
    """Answers, none of which is ever lost or changed."""

    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        """Keep answers in the order given: all of them, or none if anything fails.

        An answer whose ``id`` is known is a repetition, and so is one that says what the same annotator's current
        answer to the same place says. Any other becomes current and supersedes that current one, as well as the one
        that it names. Order of arrival decides, not ``at``: clocks jump.

        Raises:
            LabelError: it supersedes an answer that is not there, or one to another sample.
        """
        ...

    def labels(
        self,
        *,
        run: str | None = None,
        pool: str | None = None,
        round: int | None = None,
        samples: Sequence[SampleId] | None = None,
        current: bool = True,
    ) -> tuple[LabelRecord, ...]:
        """Answers to a run or a pool (of all runs and none), in order of arrival.

        Args:
            round: only those that count for that round of the run.
            samples: only those to these samples.
            current: without those that were superseded; False gives the whole history.
        Raises:
            UsageError: neither run nor pool is given.
        """
        ...

    def count_labels(self, run: str) -> int:
        """Samples that rounds of a run asked for and that somebody has named a class or mask of."""
        ...

    def conflicts(
        self, *, run: str | None = None, pool: str | None = None, round: int | None = None
    ) -> tuple[Disagreement, ...]:
        """Samples whose current answers disagree, in the order in which they were first labeled; as :meth:`labels`."""
        ...


class Registry(Protocol):
    """A light index of what files hold: pool versions, generations, receipts; and the samples of pools."""

    def register(self, entry: Entry) -> Entry:
        """Keep an entry, or find one of its kind and id there already; returns the stored one."""
        ...

    def entry(self, kind: str, entry: str) -> Entry:
        """The entry of a kind and id.

        Raises:
            UnknownRecordError: there is none.
        """
        ...

    def entries(
        self, kind: str, *, run: str | None = None, limit: int | None = None, after: str | None = None
    ) -> tuple[Entry, ...]:
        """Entries of a kind in the order in which they were registered; ``after`` the one of that id."""
        ...

    def add_samples(self, pool: str, samples: Iterable[PoolSample]) -> int:
        """Remember samples of a pool, in batches; those known already stay as they are. Returns how many are new."""
        ...

    def samples(
        self,
        pool: str,
        *,
        ids: Sequence[SampleId] | None = None,
        uris: Collection[str] | None = None,
        limit: int | None = None,
        after: SampleId | None = None,
    ) -> tuple[PoolSample, ...]:
        """Samples of a pool in the order in which they were added.

        Asked for by ids or addresses, it takes time in proportion to these, however large the pool is.

        Args:
            ids: only these; those that are not there are passed over.
            uris: only samples at these addresses, likewise.
        """
        ...

    def count_samples(self, pool: str) -> int:
        """How many samples of a pool are remembered."""
        ...


class Leases(Protocol):
    """Who may work on what. The store's clock decides, which no client's clock can shift."""

    def acquire(self, key: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Take a key that nobody holds, whose lease ran out, or that the holder has already; else None.

        Another holder than the last one gets a larger token.
        """
        ...

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """The lease, to last for ``ttl_s`` from now; also one that ran out, if nobody took it since.

        Raises:
            StaleError: somebody else has it now; stop working on it.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give a key back; no harm if somebody else has it now."""
        ...

    def holder(self, key: str) -> str | None:
        """Who holds a key now."""
        ...


class JobRecords(Protocol):
    """Jobs and events."""

    def add_job(self, job: Job) -> Job:
        """Keep a new job (its version is 0), or find it there already; returns the stored one.

        Raises:
            StaleError: another job (other kind or request) has that id.
        """
        ...

    def job(self, job: str) -> Job:
        """The stored job of an id.

        Raises:
            UnknownRecordError: there is none.
        """
        ...

    def jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> tuple[Job, ...]:
        """Jobs in the order in which they were added; ``after`` the job of that id."""
        ...

    def change_job(self, job: Job) -> Job:
        """Store a changed job, fenced; kind, request and time stay as they were. Raises as ``change_run``."""
        ...

    def drop_jobs(self, jobs: Iterable[str]) -> int:
        """Forget jobs that are over, and their events; others stay. Returns how many went."""
        ...

    def add_events(self, events: Iterable[Event]) -> None:
        """Append events in the order given; their numbers are the store's."""
        ...

    def events(self, run: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """Events of a run or job in order; ``after`` the event of that number.

        A reader that goes on after the last number it saw misses none, whoever writes meanwhile.
        """
        ...


class Records(RunRecords, LabelRecords, Registry, Leases, JobRecords, Protocol):
    """Everything that a workspace remembers beside files."""

    def transaction(self) -> AbstractContextManager[None]:
        """All that the thread does inside happens, or, if an error leaves it, nothing; they nest.

        Others wait meanwhile, so it must be short: no training, no person.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
