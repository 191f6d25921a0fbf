"""How long a pool takes to score, said before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresift.app.models.engine_choice import default_batch, engine_asked
from foresift.app.models.opening import open_model
from foresift.app.passes.stored import PassOptions, PoolJob, open_job
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, EmptyPoolError
from foresift.core.protocols import Engine, Progress, Silent
from foresift.engines import REFERENCE, make_engine
from foresift.inference.latency import measure_latency
from foresift.inference.transform import load
from foresift.sources.read import fetch

SAMPLED = 32
"""Images that are decoded to learn how long that takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCost:
    """The time that scoring a pool would take now."""

    images: int
    """Distinct images of the pool."""
    stored: int
    """Of these, what the store has already: they cost nothing."""
    engine: str
    batch: int
    decode_ms: float
    """One image, fetched and decoded by one thread."""
    infer_ms: float
    """One image of a full batch."""
    seconds: float
    """Images that are missing, times the slower of decoding by all cores and inference."""


class _OneEngine:
    """The engine that a cost is measured with."""

    portable = False

    def __init__(self, make: Engine) -> None:
        self._made = make

    def make(self, name: str, batch: int) -> Engine:  # noqa: ARG002 - one engine for all
        return self._made

    def keep(self, name: str, batch: int) -> None:
        """There is no other."""


def pool_cost(
    workspace: Workspace,
    pool: str | Path,
    model: str | Path,
    *,
    engine: str = REFERENCE,
    progress: Progress | None = None,
    stdin: Iterable[str] | None = None,
) -> PoolCost:
    """Images times measured time, those that the store knows left out.

    Content digests are taken (and remembered), as scoring would; a few images are decoded and inferred.

    Args:
        engine: what would run; ``auto`` counts as the reference, which is never the faster one.
    Raises:
        EmptyPoolError: no image that can be decoded.
        ModelError: no such generation.
    """
    from foresift.models import ScoringModule

    opened_model = open_model(workspace, model)
    opened = open_pool(workspace, pool, progress=progress or Silent(), stdin=stdin)
    asked, _ = engine_asked(engine)
    name = REFERENCE if asked == "auto" else asked
    transform = opened_model.generation.transform
    batch = default_batch(transform.size)
    network = ScoringModule(opened_model.network(), transform)
    made = make_engine(name, network, size=transform.size, batch=batch)
    job = open_job(
        workspace,
        opened,
        opened_model,
        options=PassOptions(engine=name),
        key=opened_model.key,
        stage=opened_model.stage,
        engines=_OneEngine(made),
    )
    missing = np.flatnonzero(~np.isin(job.digests, job.store.known(job.producer(name, batch))))
    decode_ms, pixels = _decoded(job, missing if len(missing) else np.arange(len(job.digests)))
    infer_ms = measure_latency(lambda: made(np.repeat(pixels[None], batch, axis=0))).median_ms / batch
    slower = max(decode_ms / (os.cpu_count() or 1), infer_ms)
    return PoolCost(
        images=len(job.digests),
        stored=len(job.digests) - len(missing),
        engine=name,
        batch=batch,
        decode_ms=decode_ms,
        infer_ms=infer_ms,
        seconds=len(missing) * slower / 1000,
    )


def _decoded(job: PoolJob, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> tuple[float, Pixels]:
    """Milliseconds to decode an image, the median over a few spread evenly, and one of them."""
    import time

    taken: list[float] = []
    pixels: Pixels | None = None
    for row in rows[:: max(1, len(rows) // SAMPLED)][:SAMPLED].tolist():
        start = time.perf_counter()
        try:
            pixels = load(fetch(str(job.uris[row])), job.model.generation.transform)
        except DataError:
            continue
        taken.append(time.perf_counter() - start)
    if pixels is None:
        raise EmptyPoolError(f"{job.pool.name}: not one of {SAMPLED} images could be decoded")
    return 1000 * float(np.median(taken)), pixels
