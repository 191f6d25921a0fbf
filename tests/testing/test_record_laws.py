"""The laws of records find stores that break them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from foresift.core.jobs import Event, Lease
from foresift.core.labels import LabelRecord
from foresift.core.records import Added, PoolSample
from foresift.core.rounds import Round, Run
from foresift.stores.records.memory import MemoryRecords
from foresift.testing import RECORD_LAWS, BrokenLawError, StoreCase, check_records


class NoFence(MemoryRecords):
    def change_run(self, run: Run) -> Run:
        return super().change_run(replace(run, version=self.run(run.id).version))


class Overwrites(MemoryRecords):
    def add_run(self, run: Run) -> Run:
        self._tables["runs"].pop(run.id, None)
        return super().add_run(run)


class Racing(MemoryRecords):
    """Looks first and acts later."""

    def change_run(self, run: Run) -> Run:
        stale = self.run(run.id).version != run.version
        _meet()
        return super().change_run(run if stale else replace(run, version=self.run(run.id).version))


class Newest(MemoryRecords):
    def runs(self, **asked: Any) -> tuple[Run, ...]:
        return super().runs(**asked)[::-1]


class Gaps(MemoryRecords):
    def add_round(self, round: Round) -> Round:  # noqa: A002
        self._tables["rounds"].setdefault((round.run, round.number - 1), {"run": "another"})
        return super().add_round(round)


class Shared(MemoryRecords):
    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Run] = {}

    def add_run(self, run: Run) -> Run:
        self.given[run.id] = run
        return super().add_run(run)

    def run(self, run: str) -> Run:
        return self.given[run]


class TwoHolders(MemoryRecords):
    def acquire(self, key: str, holder: str, *, ttl_s: float) -> Lease | None:
        return super().acquire(f"{key}{holder}", holder, ttl_s=ttl_s)


class NeverOver(MemoryRecords):
    def acquire(self, key: str, holder: str, *, ttl_s: float) -> Lease | None:
        return super().acquire(key, holder, ttl_s=max(ttl_s, 100))


class Lossy(MemoryRecords):
    def add_events(self, events: Iterable[Event]) -> None:
        super().add_events(list(events)[:1])


class HalfTransactions(MemoryRecords):
    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            yield


class TextIds(MemoryRecords):
    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        return super().add_labels([replace(label, sample_id=str(label.sample_id)) for label in labels])


class ByClock(MemoryRecords):
    """Lets the latest time win and not the latest arrival."""

    def labels(self, **asked: Any) -> tuple[LabelRecord, ...]:
        found: dict[Any, LabelRecord] = {}
        if not asked.get("current", True):
            return super().labels(**asked)
        for label in super().labels(**asked | {"current": False}):
            key = (label.place, label.annotator)
            found[key] = max(label, found.get(key, label), key=lambda one: one.at)
        return tuple(found.values())


class AnyTwice(MemoryRecords):
    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        count = len(self._tables["labels"])
        return super().add_labels([replace(x, at=f"{count + n}", id="") for n, x in enumerate(labels)])


class HalfBatches(MemoryRecords):
    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        added = [super(HalfBatches, self).add_labels([label]) for label in labels]
        return Added(sum(one.new for one in added), sum(one.repeated for one in added))


class Forgetful(MemoryRecords):
    """Keeps nothing of answers that repeat what was said."""

    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        given, said = list(labels), {(x.place, x.annotator): x.value for x in self._all()}
        new = [x for x in given if x.supersedes or said.get((x.place, x.annotator)) != x.value]
        added = super().add_labels(new)
        return Added(added.new, added.repeated + len(given) - len(new))

    def _all(self) -> tuple[LabelRecord, ...]:
        return super().labels(pool="pool")


class OnePool(MemoryRecords):
    def add_samples(self, pool: str, samples: Iterable[PoolSample]) -> int:
        return super().add_samples("p", samples)


class NoAddresses(MemoryRecords):
    """Asked by address, it gives everything."""

    def samples(self, pool: str, **asked: Any) -> tuple[PoolSample, ...]:
        return super().samples(pool, **{name: value for name, value in asked.items() if name != "uris"})


class CountsAnswers(MemoryRecords):
    """Takes every answer for a sample of its own."""

    def count_labels(self, run: str) -> int:
        return len([label for label in self.labels(run=run) if label.round])


BROKEN: dict[str, tuple[Callable[[], MemoryRecords], set[str]]] = {
    "changes without a fence": (NoFence, {"fence"}),
    "overwrites what is there": (Overwrites, {"added-once"}),
    "looks before it leaps": (Racing, {"one-winner"}),
    "newest first": (Newest, {"in-pages"}),
    "gaps between rounds": (Gaps, {"rounds-in-order"}),
    "shares mappings": (Shared, {"own-values"}),
    "two holders": (TwoHolders, {"one-holder"}),
    "leases that never end": (NeverOver, {"taken-over"}),
    "loses events": (Lossy, {"events"}),
    "half a transaction": (HalfTransactions, {"all-or-nothing"}),
    "ids become text": (TextIds, {"whole-answers", "places-apart"}),
    "clocks decide": (ByClock, {"correction"}),
    "stores answers twice": (AnyTwice, {"delivered-twice"}),
    "half a batch": (HalfBatches, {"wrong-target"}),
    "forgets repetitions": (Forgetful, {"late-repetition"}),
    "one pool for all": (OnePool, {"samples-of-pools"}),
    "no addresses": (NoAddresses, {"samples-of-pools"}),
    "counts answers": (CountsAnswers, {"counted"}),
}
_BARRIER = threading.Barrier(8)


def _meet() -> None:
    try:
        _BARRIER.wait(timeout=2)
    except threading.BrokenBarrierError:
        _BARRIER.reset()


def case(kind: Callable[[], MemoryRecords]) -> StoreCase:
    store = kind()
    return StoreCase(first=store, second=store)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_store_is_found(name: str) -> None:
    kind, laws = BROKEN[name]
    for law in laws:
        with pytest.raises(BrokenLawError) as caught:
            check_records(lambda: case(kind), laws=[law])
        assert law in str(caught.value)


def test_all_laws_are_tried_and_a_whole_store_obeys_them() -> None:
    check_records(lambda: case(MemoryRecords))
    assert len(RECORD_LAWS) == 26
