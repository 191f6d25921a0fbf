"""The answers of a pool as they are now, remembered for a moment: many ask how many there are."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cached_property

from foresift.core.digests import digest_value
from foresift.core.labels import LabelRecord
from foresift.core.records import LabelRecords

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
