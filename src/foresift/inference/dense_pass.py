"""A pass over images in their own size: one image a call, one row of its own length each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, NonFiniteError, ShortMemoryError
from foresift.core.protocols import GridStore, Progress, ShardClaims, Silent, StoredGrids
from foresift.inference.shards import ImagePass, PassReport, ShardRunner, Task, check_job

SHARD_IMAGES = 32
"""Images of one atomic append: fewer than in other passes, because each may take seconds."""


class Made(NamedTuple):
    """What became of one image."""

    height: int
    width: int
    values: npt.NDArray[np.float32]
    """(m,) of any length."""


Scorer = Callable[[Pixels], Made]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTools:
    """The adapters of a pass over images in their own size."""

    fetch: Callable[[str], bytes]
    """Bytes of a uri; raises ``DataError`` with the reason."""
    load: Callable[[bytes], Pixels]
    """(h, w, 3) uint8 from bytes; raises ``DataError`` with the reason."""
    scorer: Callable[[], Scorer]
    """Made for the first image only: a pass without work loads no weights."""
    store: GridStore
    claims: Callable[[str, int], ShardClaims]
    """Claims for (pass identity, number of shards)."""
    progress: Progress = field(default_factory=Silent)
    broken: Callable[[str, str], None] = lambda uri, reason: None  # noqa: ARG005
    """Told (uri, reason) of every broken image; may raise to stop the pass."""


def run_dense_pass(job: ImagePass, tools: DenseTools) -> PassReport:
    """Infer and store whatever the store lacks, shard by shard; as :func:`foresift.inference.pipeline.run_pass`.

    Args:
        job: with a batch of one image, so that a row depends on its own image alone.
    Raises:
        NonFiniteError: the network gave NaN or infinity; names the image, its shard is not stored.
        StoreError: full disk; finished shards are kept.
    """
    check_job(job)
    report = PassReport()
    missing = ~np.isin(job.digests, tools.store.known(job.producer))
    tools.progress.start("inferring", int(missing.sum()))
    if missing.any():
        single = replace(job, batch=1)
        with tools.claims(job.identity, -(-len(job.digests) // job.shard_rows)) as claims:
            _DenseRunner(single, tools, claims, missing, report).run()
    tools.progress.done()
    return report


class _Image(NamedTuple):
    pixels: Pixels | None
    reason: str
    """Empty, or why there are no pixels."""
    read: bool
    """Whether that is a judgement on the file."""


@dataclass(slots=True)
class _Shard:
    rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)


_NOTHING = Made(0, 0, np.empty(0, dtype=np.float32))


class _DenseRunner(ShardRunner[_Image]):
    def __init__(
        self,
        job: ImagePass,
        tools: DenseTools,
        claims: ShardClaims,
        missing: npt.NDArray[np.bool_],
        report: PassReport,
    ) -> None:
        known = partial(tools.store.known, job.producer)
        super().__init__(job, fetch=tools.fetch, known=known, claims=claims, missing=missing)
        self._job, self._tools, self._report = job, tools, report
        self._pending: dict[int, _Shard] = {}
        self._scorer: Scorer | None = None

    def _decode(self, task: Task) -> _Image:
        try:
            data = self._fetch(int(task.rows[0]))
        except DataError as error:
            return _Image(None, str(error), read=False)
        try:
            return _Image(self._tools.load(data), "", read=True)
        except ShortMemoryError as error:
            return _Image(None, str(error), read=False)
        except DataError as error:
            return _Image(None, str(error) or "can't be decoded", read=True)

    def _consume(self, task: Task, future: Future[_Image]) -> None:
        image, row = future.result(), int(task.rows[0])
        if image.reason:
            self._tools.broken(str(self._job.uris[row]), image.reason)
        shard = self._pending.setdefault(task.shard, _Shard())
        if image.read:
            shard.rows.append(row)
            shard.reasons.append(image.reason)
            shard.made.append(_NOTHING if image.pixels is None else self._made(row, image.pixels))
        else:
            self._report.unread[str(self._job.digests[row])] = image.reason
        if task.last:
            self._store(task.shard)
        self._tools.progress.advance(1)

    def _made(self, row: int, pixels: Pixels) -> Made:
        self._scorer = self._scorer or self._tools.scorer()
        try:
            made = self._scorer(pixels)
        except NonFiniteError as error:
            raise NonFiniteError(f"{self._job.uris[row]}: {error}") from None
        self._report.inferred += 1
        self._report.batches += 1
        return made

    def _store(self, number: int) -> None:
        shard = self._pending.pop(number)
        if shard.rows:
            grids = StoredGrids(
                digests=self._job.digests[shard.rows],
                reasons=np.array(shard.reasons, dtype=np.str_),
                sizes=np.array([(made.height, made.width) for made in shard.made], dtype=np.int32),
                values=[made.values for made in shard.made],
            )
            self._tools.store.append(self._job.producer, grids)
        self._claims.release(number, done=True)
        self._report.shards += 1
