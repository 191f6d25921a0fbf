"""The streaming pass: fetch → decode → batch → forward → store, as overlapping bounded stages.

Worker threads fetch and decode whole batches ahead of the one thread that runs the
engine and stores. At most ``workers + 2`` batches are alive at any time, so memory does
not grow with the pool. A shard is stored in one atomic append before the next one is
inferred: a kill costs at most the shard in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels, first_nonfinite_row
from foresift.core.errors import DataError, NonFiniteError, ShortMemoryError
from foresift.core.protocols import (
    Engine,
    Outputs,
    PredictionStore,
    Progress,
    ShardClaims,
    Silent,
    StoredRows,
)
from foresift.inference.shards import SHARD_ROWS, ImagePass, PassReport, ShardRunner, Task, check_job

__all__ = ["SHARD_ROWS", "ForwardPass", "PassReport", "Tools", "run_pass"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardPass(ImagePass):
    """One forward pass over a pool: what to infer, and everything that decides the bytes of the result."""

    size: int
    """Side of the input in pixels."""


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
            ForwardRunner(job, tools, claims, missing, report).run()
    tools.progress.done()
    return report


class ForwardRunner(ShardRunner[_Decoded]):
    """Pixels in, rows of the store out."""

    def __init__(
        self,
        job: ForwardPass,
        tools: Tools,
        claims: ShardClaims,
        missing: npt.NDArray[np.bool_],
        report: PassReport,
    ) -> None:
        known = partial(tools.store.known, job.producer)
        super().__init__(job, fetch=tools.fetch, known=known, claims=claims, missing=missing)
        self._job = job
        self._tools = tools
        self._report = report
        self._pending: dict[int, _Pending] = {}
        self._engine: Engine | None = None

    def _decode(self, task: Task) -> _Decoded:
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

    def _consume(self, task: Task, future: Future[_Decoded]) -> None:
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

    def _checked(self, task: Task, slots: npt.NDArray[np.intp], reasons: list[str], outputs: Outputs) -> Outputs:
        """Rows of the good slots; broken ones zero, non-finite ones an error that names the image."""
        bad = np.array([bool(reason) for reason in reasons], dtype=bool)
        checked = []
        for name, matrix in zip(("logits", "embeddings"), outputs, strict=True):
            rows = matrix[slots].astype(np.float32, copy=True)
            rows[bad] = 0
            if (first := first_nonfinite_row(rows)) is not None:
                uri = self._uri(int(task.rows[slots[first]]))
                raise NonFiniteError(
                    f"the model gave {name} that are not finite for {uri}; "
                    "its weights or the precision are broken: train again, or try --engine torch"
                )
            checked.append(rows)
        return Outputs(*checked)

    def _report_broken(self, task: Task, decoded: _Decoded) -> None:
        for slot, row in enumerate(task.rows.tolist()):
            reason = decoded.unread.get(slot) or decoded.reasons[slot]
            if reason:
                self._tools.broken(self._uri(row), reason)
            if slot in decoded.unread:
                self._report.unread[str(self._digests_of(np.array([row]))[0])] = reason

    def _uri(self, row: int) -> str:
        return str(self._job.uris[row])

    def _digests_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.str_]:
        return self._job.digests[rows]

    def _store(self, shard: int) -> None:
        pending = self._pending.pop(shard)
        rows = np.concatenate(pending.rows)
        stored = StoredRows(
            digests=self._digests_of(rows),
            reasons=np.array(pending.reasons, dtype=np.str_),
            logits=np.concatenate([part.logits for part in pending.outputs]),
            embeddings=np.concatenate([part.embeddings for part in pending.outputs]),
        )
        if len(rows):
            self._tools.store.append(self._job.producer, stored)
        self._claims.release(shard, done=True)
        self._report.shards += 1
