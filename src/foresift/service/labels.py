"""The answers of a pool: taken in, listed, and as they are now, which is remembered for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from foresift.core.digests import digest_value
from foresift.core.errors import LabelError
from foresift.core.labels import LabelRecord
from foresift.core.records import LabelRecords
from foresift.service.opened import OpenedPools
from foresift.service.pages import by_position
from foresift.service.pools import Pools
from foresift.service.samples import Samples
from foresift.wire.messages import LabelItem, LabelPage, LabelsRequest, LabelsView, LabelView, PageRequest

FRESH_S = 1.0
"""Answers that another process brought are seen after this long."""


@dataclass(frozen=True)
class Told:
    """Current answers of one pool."""

    pool: str
    all: tuple[LabelRecord, ...]
    at: float

    @cached_property
    def pairs(self) -> list[tuple[str | int, str]]:
        """Sample and class of those that name a class."""
        return [(label.sample_id, label.value) for label in self.all if label.tells]

    @cached_property
    def count(self) -> int:
        """Labeled samples."""
        return len({sample for sample, _ in self.pairs})

    @cached_property
    def classes(self) -> list[str]:
        """Their names."""
        return sorted({value for _, value in self.pairs})

    @cached_property
    def digest(self) -> str:
        """Of the pairs."""
        return digest_value([self.pool, [list(pair) for pair in self.pairs]])[:32]


class CurrentLabels:
    """Answers by pool."""

    def __init__(self, records: LabelRecords) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._told: dict[str, Told] = {}
        self._changes = 0

    def of(self, pool: str) -> Told:
        """Those of a pool."""
        with self._lock:
            known, changes = self._told.get(pool), self._changes
        if known is not None and time.monotonic() - known.at < FRESH_S:
            return known
        now = time.monotonic()
        found = self._records.labels(pool=pool)
        told = Told(pool, found, now)
        with self._lock:
            if changes == self._changes and (found or pool in self._told):
                self._told[pool] = told
        return told

    def forget(self, pool: str) -> None:
        """They changed."""
        with self._lock:
            self._changes += 1
            self._told.pop(pool, None)


class PoolLabels:
    """Answers about samples of a server's pools, and of no others."""

    def __init__(self, records: LabelRecords, pools: Pools, opened: OpenedPools, *, server: str, folder: Path) -> None:
        """``folder`` gets a file for each set of answers that something was asked with."""
        self._records, self._pools, self._opened = records, pools, opened
        self._server, self._folder = server, folder
        self._now = CurrentLabels(records)

    def of(self, name: str) -> Told:
        """Current answers of a pool."""
        return self._now.of(self._key(name))

    def page(self, name: str, asked: PageRequest) -> LabelPage:
        """Current answers of a pool, in parts."""
        pool = self._pools.get(name)
        part, after = by_position(self.of(name).all, asked)
        items = [
            LabelView(id=pool.given(str(one.sample_id)), label=one.value, annotator=one.annotator, at=one.at)
            for one in part
        ]
        return LabelPage(items=items, next=after)

    def add(self, name: str, asked: LabelsRequest) -> LabelsView:
        """Keep answers; all of them, or none.

        Raises:
            LabelError: a sample that the pool does not have.
        """
        samples = self._samples(self._pools.get(name), asked.labels)
        key = self._key(name)
        records = [
            LabelRecord(sample_id=sample, value=item.label, pool=key, annotator=asked.annotator, source="service")
            for sample, item in zip(samples, asked.labels, strict=True)
        ]
        added = self._records.add_labels(records)
        self._now.forget(key)
        return LabelsView(new=added.new, repeated=added.repeated, labeled=self.of(name).count)

    def file(self, name: str) -> Path:
        """The answers so far as a file, named by its content; empty without answers."""
        told = self.of(name)
        file = self._folder / f"{told.digest}.jsonl"
        if not file.exists():
            self._pools.get(name).write_labels(file, told.pairs)
        return file

    def given(self, name: str) -> Path:
        """As :meth:`file`.

        Raises:
            LabelError: there are no answers yet.
        """
        file = self.file(name)
        if not file.stat().st_size:
            raise LabelError(f"pool {name} has no labels yet; deliver some first")
        return file

    def kept(self, file: str) -> Path:
        """A file that :meth:`file` wrote, by its name."""
        return self._folder / file

    def _samples(self, pool: Samples, items: Sequence[LabelItem]) -> list[str]:
        """Which sample each answer is about: its address where it is read, however it was named."""
        uris = [item.uri for item in items if item.uri is not None]
        places = dict(zip(uris, self._pools.places(uris), strict=True))
        unknown = next((uri for uri in uris if not pool.has(places[uri])), None)
        if unknown is not None:
            raise LabelError(f"{unknown!r} was never pushed to pool {pool.name}; nothing was kept")
        by_id = self._by_id(pool, [item.id for item in items if item.id is not None])
        return [places[item.uri] if item.uri is not None else by_id[str(item.id)] for item in items]

    def _by_id(self, pool: Samples, ids: Sequence[str]) -> dict[str, str]:
        """Addresses by what answers call samples: their id, or their address as it was pushed."""
        found = pool.by_given() if ids else {}
        left = [sample for sample in ids if sample not in found]
        if not left:
            return found
        place = self._opened.of(pool).place if len(pool) else (lambda _: None)
        places = {sample: at for sample in left if (at := place(sample)) is not None}
        unknown = next((sample for sample in left if sample not in places), None)
        if unknown is not None:
            raise LabelError(
                f"pool {pool.name} has no sample with the id {unknown[:200]!r}; nothing was kept. "
                "Ids are those of a selection's rows; anything pushed can be named by uri"
            )
        return {**found, **places}

    def _key(self, name: str) -> str:
        return f"service/{self._server}/{name}"
