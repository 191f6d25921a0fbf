"""Whatever is asked of a database in whatever order, it answers as the store in memory does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from foresift.core.errors import ForesiftError
from foresift.core.jobs import JOB_STATES, Event, Job, Lease
from foresift.core.labels import LabelRecord
from foresift.core.records import Entry, PoolSample, Records
from foresift.core.regions import Region
from foresift.core.rounds import ROUND_STATES, RUN_STATES, Round, Run
from foresift.stores.records.clocks import Now
from foresift.stores.records.database import Database, file_address
from foresift.stores.records.memory import MemoryRecords
from foresift.stores.records.opening import FILE, open_records
from foresift.stores.records.schema import METADATA
from foresift.stores.records.sql import SqlRecords

pytestmark = pytest.mark.timeout(300)

names = st.sampled_from(["a", "b", "é\0"])
versions = st.integers(0, 3)
plain = st.dictionaries(st.sampled_from("xy"), st.one_of(st.none(), st.integers(-9, 9), st.just([1, "z"])), max_size=2)
sample_ids = st.sampled_from([1, "1", 2, "ü\ud800"])
pages: dict[str, Any] = {"limit": st.none() | st.integers(0, 3), "after": st.none() | names}


def answers(known: list[str]) -> st.SearchStrategy[LabelRecord]:
    targets = st.none() | st.sampled_from(known) if known else st.none()
    return st.builds(
        LabelRecord,
        sample_id=sample_ids,
        value=st.sampled_from(["cat", "dog", "cannot-tell"]),
        pool=st.sampled_from(["p", "q"]),
        run=st.none() | names,
        round=st.none() | st.integers(1, 2),
        region=st.none() | st.just(Region(1, 2, 3, 4)),
        annotator=st.sampled_from(["", "ann"]),
        at=st.sampled_from(["", "1", "2"]),
        cost=st.none() | st.floats(0, 9),
        supersedes=targets,
    )


class Clock:
    """Two boots of a machine; time goes on as the test says."""

    def __init__(self) -> None:
        self.boot, self.seconds = "first", 1000.0

    def __call__(self) -> Now:
        return Now(self.boot, self.seconds)


class Compared(RuleBasedStateMachine):
    """The same calls to both."""

    open_database: Callable[[Clock], Records]
    has_our_clock: bool

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.model, self.real = MemoryRecords(self.clock), type(self).open_database(self.clock)
        self.known: list[str] = []
        self.leases: list[Lease] = []

    def both(self, call: Callable[[Records], Any]) -> Any:
        expected, found = outcome(call, self.model), outcome(call, self.real)
        assert found == expected
        return expected

    @rule(run=st.builds(Run, id=names, pool=st.sampled_from("pq"), config=plain, version=st.sampled_from([0, 0, 0, 1])))
    def add_run(self, run: Run) -> None:
        self.both(lambda store: store.add_run(run))

    @rule(run=st.builds(Run, id=names, pool=names, state=st.sampled_from(RUN_STATES), version=versions, trial=plain))
    def change_run(self, run: Run) -> None:
        self.both(lambda store: store.change_run(run))

    @rule(run=names, number=st.integers(1, 3), budget=st.integers(1, 2), details=plain)
    def add_round(self, run: str, number: int, budget: int, details: dict[str, Any]) -> None:
        new = Round(run=run, number=number, budget=budget, strategy="margin", details=details)
        self.both(lambda store: store.add_round(new))

    @rule(
        run=names,
        number=st.integers(1, 2),
        state=st.sampled_from(ROUND_STATES),
        version=versions,
        selected=st.lists(sample_ids, unique=True, max_size=3).map(tuple),
        metrics=plain,
    )
    def change_round(self, run: str, number: int, **values: Any) -> None:
        changed = Round(run=run, number=number, budget=1, strategy="entropy", **values)
        self.both(lambda store: store.change_round(changed))

    @rule(data=st.data())
    def add_labels(self, data: st.DataObject) -> None:
        batch = data.draw(st.lists(answers(self.known), max_size=6))
        self.both(lambda store: store.add_labels(batch))
        self.known = [label.id for pool in "pq" for label in self.model.labels(pool=pool, current=False)]

    @rule(entry=st.builds(Entry, kind=st.sampled_from(["pool", "receipt"]), id=names, run=st.none() | names))
    def register(self, entry: Entry) -> None:
        self.both(lambda store: store.register(entry))

    @rule(pool=names, samples=st.lists(st.builds(PoolSample, id=sample_ids, uri=names), max_size=3))
    def add_samples(self, pool: str, samples: list[PoolSample]) -> None:
        self.both(lambda store: store.add_samples(pool, samples))
        self.both(lambda store: (store.count_samples(pool), store.samples(pool), store.samples(pool, ids=[1, "1"])))
        self.both(lambda store: (store.samples(pool, uris=["a", "é\0"]), store.samples(pool, ids=["1"], uris=["b"])))

    @rule(job=st.builds(Job, id=names, kind=names, state=st.sampled_from(JOB_STATES), version=versions, answer=plain))
    def change_job(self, job: Job) -> None:
        self.both(lambda store: store.add_job(replace(job, version=0, state="queued")))
        self.both(lambda store: store.change_job(job))

    @rule(jobs=st.lists(names, unique=True))
    def drop_jobs(self, jobs: list[str]) -> None:
        self.both(lambda store: store.drop_jobs(jobs))

    @rule(events=st.lists(st.builds(Event, run=names, kind=names, values=plain), max_size=4))
    def add_events(self, events: list[Event]) -> None:
        self.both(lambda store: store.add_events(events))

    @rule(key=names, holder=names, ttl_s=st.floats(0, 10))
    def acquire(self, key: str, holder: str, ttl_s: float) -> None:
        lease = self.on_our_clock(lambda store: store.acquire(key, holder, ttl_s=ttl_s))
        self.leases += [lease] if isinstance(lease, Lease) else []

    @rule(data=st.data(), ttl_s=st.floats(1, 10))
    def renew_or_release(self, data: st.DataObject, ttl_s: float) -> None:
        if self.leases:
            lease = data.draw(st.sampled_from(self.leases))
            give_back = data.draw(st.booleans())
            self.on_our_clock(lambda store: store.release(lease) if give_back else store.renew(lease, ttl_s=ttl_s))

    @rule(seconds=st.floats(0, 8), restart=st.booleans())
    def time_goes_on(self, seconds: float, restart: bool) -> None:
        self.clock.seconds = seconds if restart else self.clock.seconds + seconds
        self.clock.boot = f"{self.clock.boot}'" if restart else self.clock.boot

    def on_our_clock(self, call: Callable[[Records], Any]) -> Any:
        return self.both(call) if self.has_our_clock else None

    @rule(
        inner_fails=st.booleans(), outer_fails=st.booleans(), events=st.lists(st.builds(Event, run=names, kind=names))
    )
    def transaction(self, inner_fails: bool, outer_fails: bool, events: list[Event]) -> None:
        self.both(lambda store: nested(store, events, inner_fails=inner_fails, outer_fails=outer_fails))

    @rule(state=st.none() | st.sampled_from(RUN_STATES), **pages)
    def look_at_pages(self, state: str | None, limit: int | None, after: str | None) -> None:
        self.both(lambda store: store.runs(state=state, limit=limit, after=after))
        self.both(lambda store: store.jobs(limit=limit, after=after))
        self.both(lambda store: store.entries("pool", run=after, limit=limit))

    @rule(run=st.none() | names, pool=st.none() | st.just("p"), number=st.none() | st.just(1), current=st.booleans())
    def look_at_labels(self, run: str | None, pool: str | None, number: int | None, current: bool) -> None:
        asked = {"run": run, "pool": pool, "round": number}
        self.both(lambda store: store.labels(**asked, current=current, samples=["1", 2]))  # type: ignore[arg-type]
        self.both(lambda store: store.conflicts(**asked))  # type: ignore[arg-type]

    @invariant()
    def they_hold_the_same(self) -> None:
        self.both(lambda store: [*store.runs(), *store.jobs(), *store.entries("pool"), *store.entries("receipt")])
        for name in ("a", "b", "é\0"):
            self.both(lambda store, name=name: (store.rounds(name), store.events(name), store.count_labels(name)))
            self.on_our_clock(lambda store, name=name: store.holder(name))
        for pool in "pq":
            self.both(lambda store, pool=pool: [*store.labels(pool=pool), *store.labels(pool=pool, current=False)])

    def teardown(self) -> None:
        self.real.close()


def outcome(call: Callable[[Records], Any], store: Records) -> Any:
    try:
        return call(store)
    except ForesiftError as error:
        return type(error), str(error)


def nested(store: Records, events: list[Event], *, inner_fails: bool, outer_fails: bool) -> str:
    try:
        with store.transaction():
            store.add_events(events)
            try:
                with store.transaction():
                    store.add_events(events[:1])
                    if inner_fails:
                        raise KeyError
            except KeyError:
                pass
            store.add_events(events)
            if outer_fails:
                raise ValueError
    except ValueError:
        return "failed"
    return "done"


def compare(open_database: Callable[[Clock], Records], *, has_our_clock: bool, examples: int) -> None:
    class Machine(Compared):
        pass

    Machine.open_database = staticmethod(open_database)
    Machine.has_our_clock = has_our_clock
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=checks),
    )


def test_sqlite_answers_as_memory_does(tmp_path: Path) -> None:
    open_records(tmp_path).close()
    count = iter(range(10**6))

    def fresh(clock: Clock) -> Records:
        copy = tmp_path / f"{next(count)}.sqlite"
        shutil.copy(tmp_path / FILE, copy)
        return SqlRecords(Database(file_address(copy)), clock)

    compare(fresh, has_our_clock=True, examples=40)


def test_postgres_answers_as_memory_does(postgres: Any, tmp_path: Path) -> None:
    address = postgres.new_database()

    def fresh(_: Clock) -> Records:
        records = open_records(tmp_path, address)
        assert isinstance(records, SqlRecords)
        tables = ", ".join(f'"{table}"' for table in METADATA.tables)
        records._database.write(lambda connection: connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY")))
        return records

    compare(fresh, has_our_clock=False, examples=10)
