"""Records that last as long as the process: for tests, and the model that the other back ends are held to."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from foresift.core.jobs import Event, Job, Lease
from foresift.core.labels import CANNOT_TELL, Disagreement, LabelRecord
from foresift.core.records import Added, Entry, PoolSample
from foresift.core.rounds import Round, Run, SampleId
from foresift.stores.records.answers import Delivery, Place, Said, check_asked, disagreements, place_of
from foresift.stores.records.clocks import Now, is_held, lease_of, machine_clock, owns, renewed, taken
from foresift.stores.records.fences import (
    JOB_FIXED,
    JOB_SAME,
    RUN_FIXED,
    RUN_SAME,
    Found,
    check_follows,
    check_new,
    check_same,
    check_version,
    unknown,
)
from foresift.stores.records.rows import (
    ENTRIES,
    EVENTS,
    JOBS,
    LABEL_COLUMNS,
    ROUNDS,
    RUNS,
    Row,
    born,
    id_text,
    label_of,
    sample_of,
    sample_row,
)

Table = dict[Any, Row]
"""Rows by key in the order of adding; a row is replaced, never changed."""
_TABLES = ("runs", "rounds", "labels", "entries", "samples", "leases", "jobs", "events")


class MemoryRecords:
    """:class:`foresift.core.records.Records` in dictionaries."""

    def __init__(self, clock: Callable[[], Now] = machine_clock) -> None:
        self._tables: dict[str, Table] = {name: {} for name in _TABLES}
        self._lock = threading.RLock()
        self._clock = clock

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that the thread does inside happens, or, if an error leaves it, nothing. O(records)."""
        with self._lock:
            before = {name: dict(table) for name, table in self._tables.items()}
            try:
                yield
            except BaseException:
                self._tables = before
                raise

    def close(self) -> None:
        """Nothing is held."""

    def add_run(self, run: Run) -> Run:
        """Keep a new run, or find it there already."""
        return RUNS.value(self._add("runs", run.id, RUNS.row(run), same=RUN_SAME, what=f"run {run.id}"))

    def run(self, run: str) -> Run:
        """The stored run of an id."""
        return RUNS.value(self._get("runs", run, f"run {run}"))

    def runs(self, *, state: str | None = None, limit: int | None = None, after: str | None = None) -> tuple[Run, ...]:
        """Runs in the order in which they were added."""
        found = self._page("runs", {"state": state}, limit=limit, after=after, what=f"run {after}")
        return tuple(map(RUNS.value, found))

    def change_run(self, run: Run) -> Run:
        """Store a changed run, fenced."""
        return RUNS.value(self._change("runs", run.id, RUNS.row(run), fixed=RUN_FIXED, what=f"run {run.id}"))

    def add_round(self, round: Round) -> Round:
        """Keep a new round, or find it there already."""
        row = ROUNDS.row(round)
        row["born"] = born(row)
        key, what = (round.run, round.number), f"round {round.number} of run {round.run}"
        with self._lock:
            self.run(round.run)
            if key not in self._tables["rounds"]:
                check_follows(row, len(self.rounds(round.run)))
            return ROUNDS.value(self._add("rounds", key, row, same=["born"], what=what))

    def change_round(self, round: Round) -> Round:
        """Store a changed round, fenced."""
        key, what = (round.run, round.number), f"round {round.number} of run {round.run}"
        return ROUNDS.value(self._change("rounds", key, ROUNDS.row(round), fixed=["born"], what=what))

    def rounds(self, run: str) -> tuple[Round, ...]:
        """Rounds of a run, the first one first."""
        return tuple(map(ROUNDS.value, self._page("rounds", {"run": run})))

    def drop_run(self, run: str) -> bool:
        """Forget a run that is over and its rounds."""
        with self._lock:
            found = self._tables["runs"].get(run)
            if found is None or not RUNS.value(found).is_over:
                return False
            for name, column in (("runs", "id"), ("rounds", "run")):
                self._tables[name] = {key: row for key, row in self._tables[name].items() if row[column] != run}
            return True

    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        """Keep answers in the order given."""
        delivered = tuple(labels)
        with self._lock:
            table = self._tables["labels"]
            delivery = Delivery(known={key: place_of(row) for key, row in table.items()}, current=_current(table))
            added = delivery.settle(delivered)
            retired = {key: table[key] | {"superseded": True} for key in delivery.superseded}
            table.update(retired | delivery.rows)
            return added

    def labels(
        self,
        *,
        run: str | None = None,
        pool: str | None = None,
        round: int | None = None,
        samples: Sequence[SampleId] | None = None,
        current: bool = True,
    ) -> tuple[LabelRecord, ...]:
        """Answers to a run or a pool, in order of arrival."""
        check_asked(run, pool)
        where = {"run": run, "pool": pool, "round": round, "superseded": False if current else None}
        names = None if samples is None else set(map(id_text, samples))
        found = [row for row in self._page("labels", where) if names is None or row["sample"] in names]
        return tuple(label_of(tuple(row[name] for name in LABEL_COLUMNS)) for row in found)

    def count_labels(self, run: str) -> int:
        """Samples that rounds of a run asked for and that somebody has named a class or mask of."""
        found = self._page("labels", {"run": run, "superseded": False})
        return len({row["sample"] for row in found if row["round"] is not None and row["value"] != CANNOT_TELL})

    def conflicts(
        self, *, run: str | None = None, pool: str | None = None, round: int | None = None
    ) -> tuple[Disagreement, ...]:
        """Samples whose current answers disagree."""
        return disagreements(self.labels(run=run, pool=pool, round=round))

    def register(self, entry: Entry) -> Entry:
        """Keep an entry, or find one of its kind and id there already."""
        with self._lock:
            return ENTRIES.value(self._tables["entries"].setdefault((entry.kind, entry.id), ENTRIES.row(entry)))

    def entry(self, kind: str, entry: str) -> Entry:
        """The entry of a kind and id."""
        return ENTRIES.value(self._get("entries", (kind, entry), f"{kind} {entry}"))

    def entries(
        self, kind: str, *, run: str | None = None, limit: int | None = None, after: str | None = None
    ) -> tuple[Entry, ...]:
        """Entries of a kind in the order in which they were registered."""
        start = None if after is None else (kind, after)
        found = self._page("entries", {"kind": kind, "run": run}, limit=limit, after=start, what=f"{kind} {after}")
        return tuple(map(ENTRIES.value, found))

    def add_samples(self, pool: str, samples: Iterable[PoolSample]) -> int:
        """Remember samples of a pool."""
        with self._lock:
            table = self._tables["samples"]
            before = len(table)
            for sample in samples:
                table.setdefault((pool, id_text(sample.id)), {"pool": pool, **sample_row(sample)})
            return len(table) - before

    def samples(
        self,
        pool: str,
        *,
        ids: Sequence[SampleId] | None = None,
        uris: Collection[str] | None = None,
        limit: int | None = None,
        after: SampleId | None = None,
    ) -> tuple[PoolSample, ...]:
        """Samples of a pool in the order in which they were added."""
        start = None if after is None else (pool, id_text(after))
        found = self._page("samples", {"pool": pool}, after=start, what=f"sample {after!r}")
        wanted = {"sample": None if ids is None else set(map(id_text, ids)), "uri": None if uris is None else set(uris)}
        asked = [(name, values) for name, values in wanted.items() if values is not None]
        return tuple(sample_of(row) for row in found if all(row[name] in values for name, values in asked))[:limit]

    def count_samples(self, pool: str) -> int:
        """How many samples of a pool are remembered."""
        return len(self._page("samples", {"pool": pool}))

    def acquire(self, key: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Take a key that nobody holds."""
        with self._lock:
            row = taken(self._tables["leases"].get(key), key, holder, now=self._clock(), ttl_s=ttl_s)
            return None if row is None else self._keep_lease(row)

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """The lease, to last for ``ttl_s`` from now."""
        with self._lock:
            stored = self._tables["leases"].get(lease.key)
            return self._keep_lease(renewed(stored, lease, now=self._clock(), ttl_s=ttl_s))

    def release(self, lease: Lease) -> None:
        """Give a key back."""
        with self._lock:
            stored = self._tables["leases"].get(lease.key)
            if stored is not None and owns(stored, lease):
                self._keep_lease(stored | {"holder": ""})

    def holder(self, key: str) -> str | None:
        """Who holds a key now."""
        with self._lock:
            stored = self._tables["leases"].get(key)
            return stored["holder"] if stored is not None and is_held(stored, self._clock()) else None

    def add_job(self, job: Job) -> Job:
        """Keep a new job, or find it there already."""
        return JOBS.value(self._add("jobs", job.id, JOBS.row(job), same=JOB_SAME, what=f"job {job.id}"))

    def job(self, job: str) -> Job:
        """The stored job of an id."""
        return JOBS.value(self._get("jobs", job, f"job {job}"))

    def jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> tuple[Job, ...]:
        """Jobs in the order in which they were added."""
        found = self._page("jobs", {"kind": kind, "state": state}, limit=limit, after=after, what=f"job {after}")
        return tuple(map(JOBS.value, found))

    def change_job(self, job: Job) -> Job:
        """Store a changed job, fenced."""
        return JOBS.value(self._change("jobs", job.id, JOBS.row(job), fixed=JOB_FIXED, what=f"job {job.id}"))

    def drop_jobs(self, jobs: Iterable[str]) -> int:
        """Forget jobs that are over, and their events."""
        with self._lock:
            table, events = self._tables["jobs"], self._tables["events"]
            over = {name for name in jobs if name in table and JOBS.value(table[name]).is_over}
            self._tables["jobs"] = {name: row for name, row in table.items() if name not in over}
            self._tables["events"] = {key: row for key, row in events.items() if row["run"] not in over}
            return len(over)

    def add_events(self, events: Iterable[Event]) -> None:
        """Append events in the order given."""
        rows = [EVENTS.row(event) for event in events]
        with self._lock:
            for row in rows:
                number = len(self._page("events", {"run": row["run"]})) + 1
                self._tables["events"][row["run"], number] = row | {"number": number}

    def events(self, run: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """Events of a run or job in order."""
        found = [row for row in self._page("events", {"run": run}) if row["number"] > after]
        return tuple(map(EVENTS.value, found[:limit]))

    def _add(self, table: str, key: Any, row: Row, *, same: Sequence[str], what: str) -> Found:
        with self._lock:
            stored = self._tables[table].get(key)
            if stored is not None:
                return check_same(stored, row, same=same, what=what)
            check_new(row, what)
            self._tables[table][key] = row
            return row

    def _get(self, table: str, key: Any, what: str) -> Found:
        with self._lock:
            if key not in self._tables[table]:
                raise unknown(what)
            return self._tables[table][key]

    def _change(self, table: str, key: Any, row: Row, *, fixed: Sequence[str], what: str) -> Found:
        with self._lock:
            stored = dict(check_version(self._get(table, key, what), row, what=what))
            kept = {name: stored[name] for name in fixed}
            self._tables[table][key] = row | kept | {"version": row["version"] + 1}
            return self._tables[table][key]

    def _page(
        self, table: str, where: Mapping[str, Any], *, limit: int | None = None, after: Any = None, what: str = ""
    ) -> list[Row]:
        asked = [(name, value) for name, value in where.items() if value is not None]
        with self._lock:
            if after is not None:
                self._get(table, after, what)
            keys = iter(self._tables[table])
            if after is not None:
                next(key for key in keys if key == after)
            rows = (self._tables[table][key] for key in keys)
            return list(islice((row for row in rows if all(row[name] == value for name, value in asked)), limit))

    def _keep_lease(self, row: Row) -> Lease:
        self._tables["leases"][row["key"]] = row
        return lease_of(row)


def _current(table: Table) -> dict[Place, dict[str, Said]]:
    current: dict[Place, dict[str, Said]] = defaultdict(dict)
    for key, row in table.items():
        if not row["superseded"]:
            current[place_of(row)][row["annotator"]] = Said(key, row["value"])
    return current
