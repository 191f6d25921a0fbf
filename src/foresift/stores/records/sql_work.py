"""Leases, jobs and events in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, delete, func, insert, select, update

from foresift.core.jobs import Event, Job, Lease
from foresift.stores.records import fenced
from foresift.stores.records.clocks import Now, is_held, lease_of, machine_clock, owns, renewed, taken
from foresift.stores.records.database import Database, alone
from foresift.stores.records.fences import JOB_FIXED, JOB_SAME, Found
from foresift.stores.records.rows import EVENTS, JOBS, Row
from foresift.stores.records.schema import events, jobs, leases


class SqlLeases:
    """:class:`foresift.core.records.Leases` over a database.

    In a file the clock is the machine's own since it was started, which all its processes share and nobody can set;
    a server's is the server's.
    """

    def __init__(self, database: Database, clock: Callable[[], Now] = machine_clock) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, key: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Take a key that nobody holds."""

        def work(connection: Connection) -> Row | None:
            alone(connection, f"lease {key}")
            stored = fenced.find(connection, leases, key=key)
            row = taken(stored, key, holder, now=self._now(connection), ttl_s=ttl_s)
            return None if row is None else _store(connection, row, stored)

        row = self._database.write(work)
        return None if row is None else lease_of(row)

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """The lease, to last for ``ttl_s`` from now."""

        def work(connection: Connection) -> Row:
            alone(connection, f"lease {lease.key}")
            stored = fenced.find(connection, leases, key=lease.key)
            return _store(connection, renewed(stored, lease, now=self._now(connection), ttl_s=ttl_s), stored)

        return lease_of(self._database.write(work))

    def release(self, lease: Lease) -> None:
        """Give a key back."""

        def work(connection: Connection) -> None:
            alone(connection, f"lease {lease.key}")
            stored = fenced.find(connection, leases, key=lease.key)
            if stored is not None and owns(stored, lease):
                _store(connection, {**stored, "holder": ""}, stored)

        self._database.write(work)

    def holder(self, key: str) -> str | None:
        """Who holds a key now."""

        def work(connection: Connection) -> str | None:
            stored = fenced.find(connection, leases, key=key)
            held = stored is not None and is_held(stored, self._now(connection))
            return stored["holder"] if stored is not None and held else None

        return self._database.read(work)

    def _now(self, connection: Connection) -> Now:
        if self._database.is_file:
            return self._clock()
        seconds = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
        return Now("server", float(seconds))


class SqlJobs:
    """:class:`foresift.core.records.JobRecords` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_job(self, job: Job) -> Job:
        """Keep a new job, or find it there already."""
        row, what = JOBS.row(job), f"job {job.id}"

        def work(connection: Connection) -> Found:
            alone(connection, "jobs")
            return fenced.add(connection, jobs, row, key=["id"], same=JOB_SAME, what=what)

        return JOBS.value(self._database.write(work))

    def job(self, job: str) -> Job:
        """The stored job of an id."""
        return JOBS.value(self._database.read(lambda connection: fenced.get(connection, jobs, f"job {job}", id=job)))

    def jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> tuple[Job, ...]:
        """Jobs in the order in which they were added."""

        def work(connection: Connection) -> tuple[Job, ...]:
            start = None if after is None else fenced.get(connection, jobs, f"job {after}", id=after)
            found = fenced.page(connection, jobs, where={"kind": kind, "state": state}, limit=limit, after=start)
            return tuple(map(JOBS.value, found))

        return self._database.read(work)

    def change_job(self, job: Job) -> Job:
        """Store a changed job, fenced."""
        row, what = JOBS.row(job), f"job {job.id}"
        return JOBS.value(
            self._database.write(
                lambda connection: fenced.change(connection, jobs, row, key=["id"], fixed=JOB_FIXED, what=what)
            )
        )

    def drop_jobs(self, jobs: Iterable[str]) -> int:
        """Forget jobs that are over, and their events."""
        names = tuple(jobs)
        return self._database.write(lambda connection: sum(_drop(connection, name) for name in names))

    def add_events(self, events: Iterable[Event]) -> None:
        """Append events in the order given."""
        rows = [EVENTS.row(event) for event in events]
        self._database.write(lambda connection: _append(connection, rows))

    def events(self, run: str, *, after: int = 0, limit: int | None = None) -> tuple[Event, ...]:
        """Events of a run or job in order."""
        where = (events.c.run == run, events.c.number > after)
        query = select(events).where(*where).order_by(events.c.number).limit(limit)
        found = self._database.read(lambda connection: fenced.rows(connection, query))
        return tuple(map(EVENTS.value, found))


def _store(connection: Connection, row: Row, stored: Found | None) -> Row:
    if stored is None:
        connection.execute(insert(leases), [row])
    else:
        connection.execute(update(leases).where(leases.c.key == row["key"]).values(row))
    return row


def _drop(connection: Connection, name: str) -> int:
    found = fenced.find(connection, jobs, id=name)
    if found is None or not JOBS.value(found).is_over:
        return 0
    connection.execute(delete(events).where(events.c.run == name))
    return connection.execute(delete(jobs).where(jobs.c.id == name)).rowcount


def _append(connection: Connection, rows: list[Row]) -> None:
    """Number events in their runs; being alone there until the end keeps readers from passing over a number."""
    last: dict[str, int] = {}
    for run in sorted({row["run"] for row in rows}):
        alone(connection, f"events {run}")
        last[run] = connection.execute(select(func.max(events.c.number)).where(events.c.run == run)).scalar() or 0
    numbered = []
    for row in rows:
        last[row["run"]] += 1
        numbered.append(row | {"number": last[row["run"]]})
    if numbered:
        connection.execute(insert(events), numbered)
