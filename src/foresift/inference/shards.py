"""Shards of a pass over images: who works on which, decoding ahead and in order, whatever is made of the images."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from foresift.core.digests import digest_bytes, digest_value
from foresift.core.errors import DataError, ForesiftError
from foresift.core.predictions import Producer
from foresift.core.protocols import ShardClaims

SHARD_ROWS = 1024
"""Rows of one atomic append: a kill costs the inference of at most this many images."""
D = TypeVar("D")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePass:
    """One pass over a pool: which images, and everything that decides the bytes of the result."""

    producer: Producer
    digests: npt.NDArray[np.str_]
    """(n,) content digests, ascending and distinct: their order fixes the shards."""
    uris: npt.NDArray[np.str_]
    """(n,) where the bytes of each digest lie."""
    batch: int
    shard_rows: int = SHARD_ROWS

    @property
    def identity(self) -> str:
        """Digest shared by every process that works on the same pass over the same pool."""
        return digest_value([self.producer.digest, self.shard_rows, digest_bytes("".join(self.digests).encode())])


@dataclass(slots=True, kw_only=True)
class PassReport:
    """What a pass did."""

    inferred: int = 0
    """Images that went through the network."""
    batches: int = 0
    shards: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    """Digest → reason for images that could not be fetched or found no memory; tried again next time."""

    def add(self, other: PassReport) -> None:
        """Count what another pass did as well."""
        self.inferred += other.inferred
        self.batches += other.batches
        self.shards += other.shards
        self.unread |= other.unread


@dataclass(frozen=True, slots=True)
class Task:
    """One batch of one shard."""

    shard: int
    rows: npt.NDArray[np.intp]
    last: bool


class ShardRunner(ABC, Generic[D]):
    """Worker threads make a ``D`` of each batch ahead of the one thread that takes them in order.

    At most ``workers + 2`` batches are alive at any time, so memory does not grow with the pool.
    """

    def __init__(
        self,
        job: ImagePass,
        *,
        fetch: Callable[[str], bytes],
        known: Callable[[], npt.NDArray[np.str_]],
        claims: ShardClaims,
        missing: npt.NDArray[np.bool_],
    ) -> None:
        self._images = job
        self._bytes_of = fetch
        self._known = known
        self._claims = claims
        self._missing = missing
        self._workers = max(2, os.cpu_count() or 1)

    @abstractmethod
    def _decode(self, task: Task) -> D:
        """What a worker thread makes of a batch."""

    @abstractmethod
    def _consume(self, task: Task, future: Future[D]) -> None:
        """Take a batch; after the last one of a shard, store it and release its claim."""

    def run(self) -> None:
        """First every shard that is free, then those that others hold or left behind."""
        rows_of = shards_of(self._missing, self._images.shard_rows)
        taken_by_others: list[int] = []
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:
            self._work(pool, self._free(rows_of, taken_by_others))
            for shard in taken_by_others:
                # Nothing of our own is under way here: two processes that each held
                # what the other waits for would wait for ever.
                self._claims.wait(shard)
                self._work(pool, self._batches(shard, rows_of[shard]))

    def _work(self, pool: ThreadPoolExecutor, tasks: Iterator[Task]) -> None:
        """Decode ahead, infer and store in order, until the tasks are done."""
        window: deque[tuple[Task, Future[D]]] = deque()
        try:
            for task in tasks:
                window.append((task, pool.submit(self._decode, task)))
                if len(window) >= self._workers + 2:
                    self._consume(*window.popleft())
            while window:
                self._consume(*window.popleft())
        finally:
            for _, future in window:
                future.cancel()

    def _free(self, rows_of: dict[int, npt.NDArray[np.intp]], taken_by_others: list[int]) -> Iterator[Task]:
        """Batches of every shard that can be claimed at once; notes the others."""
        for shard, rows in rows_of.items():
            if self._claims.claim(shard):
                yield from self._batches(shard, rows)
            else:
                taken_by_others.append(shard)

    def _batches(self, shard: int, rows: npt.NDArray[np.intp]) -> Iterator[Task]:
        if self._claims.is_done(shard):
            rows = rows[~np.isin(self._images.digests[rows], self._known())]
        if not len(rows):
            self._claims.release(shard, done=True)
            return
        for start in range(0, len(rows), self._images.batch):
            part = rows[start : start + self._images.batch]
            yield Task(shard, part, last=start + self._images.batch >= len(rows))

    def _fetch(self, row: int) -> bytes:
        data = self._bytes_of(str(self._images.uris[row]))
        if digest_bytes(data) != self._images.digests[row]:
            raise DataError("the file changed while the pool was being read; run again")
        return data


def shards_of(missing: npt.NDArray[np.bool_], shard_rows: int) -> dict[int, npt.NDArray[np.intp]]:
    """Missing rows by shard; a shard is a fixed stretch of the ascending digests."""
    rows = np.flatnonzero(missing)
    shards = rows // shard_rows
    return {int(s): rows[shards == s] for s in np.unique(shards)}


class Unshared:
    """Claims of a pass that does not share its work: several processes may store equal rows, the first ones count."""

    def __enter__(self) -> Unshared:
        """Nothing to open."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing."""

    def claim(self, shard: int) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def wait(self, shard: int) -> None:
        """Nothing."""

    def is_done(self, shard: int) -> bool:  # noqa: ARG002
        """What is stored was asked for beforehand."""
        return False

    def release(self, shard: int, *, done: bool) -> None:
        """Nothing."""


def check_job(job: ImagePass) -> None:
    """Refuse a pass whose digests are not ascending and distinct.

    Raises:
        ForesiftError: a programming mistake, not bad input.
    """
    if len(job.digests) > 1 and not (job.digests[:-1] < job.digests[1:]).all():
        raise ForesiftError("the digests of a pass must be ascending and distinct")
