"""The streaming pass: fetch → decode → batch → forward → store, as overlapping bounded stages.

Worker threads fetch and decode whole batches ahead of the one thread that runs the
engine and stores. At most ``workers + 2`` batches are alive at any time, so memory does
not grow with the pool. A shard is stored in one atomic append before the next one is
inferred: a kill costs at most the shard in flight.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels, first_nonfinite_row
from foresift.core.digests import digest_bytes, digest_value
from foresift.core.errors import DataError, ForesiftError, NonFiniteError, ShortMemoryError
from foresift.core.predictions import Producer
from foresift.core.protocols import (
    Engine,
    Outputs,
    PredictionStore,
    Progress,
    ShardClaims,
    Silent,
    StoredRows,
)

SHARD_ROWS = 1024
"""Rows of one atomic append: a kill costs the inference of at most this many images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardPass:
    """One pass over a pool: what to infer, and everything that decides the bytes of the result."""

    producer: Producer
    digests: npt.NDArray[np.str_]
    """(n,) content digests, ascending and distinct: their order fixes the shards."""
    uris: npt.NDArray[np.str_]
    """(n,) where the bytes of each digest lie."""
    batch: int
    size: int
    """Side of the input in pixels."""
    shard_rows: int = SHARD_ROWS

    @property
    def identity(self) -> str:
        """Digest shared by every process that works on the same pass over the same pool."""
        return digest_value([self.producer.digest, self.shard_rows, digest_bytes("".join(self.digests).encode())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The adapters of a pass, as functions and protocols of the core."""

    fetch: Callable[[str], bytes]
    """Bytes of a uri; raises ``DataError`` with the reason."""
    load: Callable[[bytes], Pixels]
    """(size, size, 3) uint8 from bytes; raises ``DataError`` with the reason."""
    engine: Callable[[], Engine]
    """Made on the first batch only: a pass without work starts no engine."""
    store: PredictionStore
    claims: Callable[[str, int], ShardClaims]
    """Claims for (pass identity, number of shards)."""
    progress: Progress = field(default_factory=Silent)
    broken: Callable[[str, str], None] = lambda uri, reason: None  # noqa: ARG005
    """Told (uri, reason) of every broken image; may raise to stop the pass."""


@dataclass(slots=True, kw_only=True)
class PassReport:
    """What a pass did."""

    inferred: int = 0
    """Images that went through the network."""
    batches: int = 0
    shards: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    """Digest → reason for images that could not be fetched or found no memory; tried again next time."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One batch of one shard."""

    shard: int
    rows: npt.NDArray[np.intp]
    last: bool


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A batch of pixels; failed rows are black and carry a reason."""

    pixels: Pixels
    reasons: list[str]
    unread: dict[int, str]


@dataclass(slots=True)
class _Pending:
    """Outputs of a shard that is not yet complete."""

    rows: list[npt.NDArray[np.intp]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)


def run_pass(job: ForwardPass, tools: Tools) -> PassReport:
    """Infer and store whatever the store lacks; returns what was done.

    Several processes may run the same pass at once: each shard is claimed by one of them,
    and whoever finishes first waits for, or takes over, the shards of the others.

    Raises:
        NonFiniteError: the network gave NaN or infinity; names the image, its shard is not stored.
        StoreError: full disk; finished shards are kept.
    """
    check_job(job)
    report = PassReport()
    missing = ~np.isin(job.digests, tools.store.known(job.producer))
    tools.progress.start("inferring", int(missing.sum()))
    if missing.any():
        with tools.claims(job.identity, -(-len(job.digests) // job.shard_rows)) as claims:
            _Runner(job, tools, claims, missing, report).run()
    tools.progress.done()
    return report


class _Runner:
    def __init__(
        self,
        job: ForwardPass,
        tools: Tools,
        claims: ShardClaims,
        missing: npt.NDArray[np.bool_],
        report: PassReport,
    ) -> None:
        self._job = job
        self._tools = tools
        self._claims = claims
        self._missing = missing
        self._report = report
        self._pending: dict[int, _Pending] = {}
        self._engine: Engine | None = None
        self._workers = max(2, os.cpu_count() or 1)

    def run(self) -> None:
        """First every shard that is free, then those that others hold or left behind."""
        rows_of = self._shards()
        taken_by_others: list[int] = []
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:
            self._work(pool, self._free(rows_of, taken_by_others))
            for shard in taken_by_others:
                # Nothing of our own is under way here: two processes that each held
                # what the other waits for would wait for ever.
                self._claims.wait(shard)
                self._work(pool, self._batches(shard, rows_of[shard]))

    def _work(self, pool: ThreadPoolExecutor, tasks: Iterator[_Task]) -> None:
        """Decode ahead, infer and store in order, until the tasks are done."""
        window: deque[tuple[_Task, Future[_Decoded]]] = deque()
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

    def _free(self, rows_of: dict[int, npt.NDArray[np.intp]], taken_by_others: list[int]) -> Iterator[_Task]:
        """Batches of every shard that can be claimed at once; notes the others."""
        for shard, rows in rows_of.items():
            if self._claims.claim(shard):
                yield from self._batches(shard, rows)
            else:
                taken_by_others.append(shard)

    def _shards(self) -> dict[int, npt.NDArray[np.intp]]:
        """Missing rows by shard; a shard is a fixed stretch of the ascending digests."""
        rows = np.flatnonzero(self._missing)
        shards = rows // self._job.shard_rows
        return {int(s): rows[shards == s] for s in np.unique(shards)}

    def _batches(self, shard: int, rows: npt.NDArray[np.intp]) -> Iterator[_Task]:
        if self._claims.is_done(shard):
            rows = rows[~np.isin(self._job.digests[rows], self._tools.store.known(self._job.producer))]
        if not len(rows):
            self._claims.release(shard, done=True)
            return
        for start in range(0, len(rows), self._job.batch):
            part = rows[start : start + self._job.batch]
            yield _Task(shard, part, last=start + self._job.batch >= len(rows))

    def _decode(self, task: _Task) -> _Decoded:
        """Fetch, verify and decode one batch; the last batch of a shard is padded with black."""
        side = self._job.size
        pixels = np.zeros((self._job.batch, side, side, 3), dtype=np.uint8)
        reasons = [""] * len(task.rows)
        unread: dict[int, str] = {}
        for slot, row in enumerate(task.rows.tolist()):
            try:
                data = self._fetch(row)
            except DataError as error:
                unread[slot] = str(error)
                continue
            try:
                pixels[slot] = self._tools.load(data)
            except ShortMemoryError as error:
                unread[slot] = str(error)
            except DataError as error:
                reasons[slot] = str(error) or "can't be decoded"
        return _Decoded(pixels, reasons, unread)

    def _fetch(self, row: int) -> bytes:
        data = self._tools.fetch(str(self._job.uris[row]))
        if digest_bytes(data) != self._job.digests[row]:
            raise DataError("the file changed while the pool was being read; run again")
        return data

    def _consume(self, task: _Task, future: Future[_Decoded]) -> None:
        decoded = future.result()
        self._report_broken(task, decoded)
        self._engine = self._engine or self._tools.engine()
        outputs = self._engine(decoded.pixels)
        kept = np.array([slot not in decoded.unread for slot in range(len(task.rows))], dtype=bool)
        slots = np.flatnonzero(kept)
        reasons = [decoded.reasons[slot] for slot in slots]
        pending = self._pending.setdefault(task.shard, _Pending())
        pending.rows.append(task.rows[kept])
        pending.reasons.extend(reasons)
        pending.outputs.append(self._checked(task, slots, reasons, outputs))
        self._report.inferred += sum(not reason for reason in reasons)
        self._report.batches += 1
        if task.last:
            self._store(task.shard)
        self._tools.progress.advance(len(task.rows))

    def _checked(self, task: _Task, slots: npt.NDArray[np.intp], reasons: list[str], outputs: Outputs) -> Outputs:
        """Rows of the good slots; broken ones zero, non-finite ones an error that names the image."""
        bad = np.array([bool(reason) for reason in reasons], dtype=bool)
        checked = []
        for name, matrix in zip(("logits", "embeddings"), outputs, strict=True):
            rows = matrix[slots].astype(np.float32, copy=True)
            rows[bad] = 0
            if (first := first_nonfinite_row(rows)) is not None:
                uri = self._job.uris[task.rows[slots[first]]]
                raise NonFiniteError(
                    f"the model gave {name} that are not finite for {uri}; "
                    "its weights or the precision are broken: train again, or try --engine torch"
                )
            checked.append(rows)
        return Outputs(*checked)

    def _report_broken(self, task: _Task, decoded: _Decoded) -> None:
        for slot, row in enumerate(task.rows.tolist()):
            reason = decoded.unread.get(slot) or decoded.reasons[slot]
            if reason:
                self._tools.broken(str(self._job.uris[row]), reason)
            if slot in decoded.unread:
                self._report.unread[str(self._job.digests[row])] = reason

    def _store(self, shard: int) -> None:
        pending = self._pending.pop(shard)
        rows = np.concatenate(pending.rows)
        stored = StoredRows(
            digests=self._job.digests[rows],
            reasons=np.array(pending.reasons, dtype=np.str_),
            logits=np.concatenate([part.logits for part in pending.outputs]),
            embeddings=np.concatenate([part.embeddings for part in pending.outputs]),
        )
        if len(rows):
            self._tools.store.append(self._job.producer, stored)
        self._claims.release(shard, done=True)
        self._report.shards += 1


def check_job(job: ForwardPass) -> None:
    """Refuse a pass whose digests are not ascending and distinct.

    Raises:
        ForesiftError: a programming mistake, not bad input.
    """
    if len(job.digests) > 1 and not (job.digests[:-1] < job.digests[1:]).all():
        raise ForesiftError("the digests of a pass must be ascending and distinct")
