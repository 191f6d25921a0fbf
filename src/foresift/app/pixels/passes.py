"""What segmentation models say of a pool's images: from the store, else inferred and stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from foresift.app.models.engine_choice import engine_asked
from foresift.app.passes.stored import PassOptions, ignore_broken, nothing_usable, refuse_broken
from foresift.app.workspace import Workspace
from foresift.core.errors import DamagedRowsError, EmptyPoolError, QuarantineError, UsageError
from foresift.core.predictions import Producer
from foresift.core.protocols import GridStore
from foresift.core.samples import Pool, Quarantined
from foresift.engines import REFERENCE, engine_identity
from foresift.inference.decode import decode
from foresift.inference.dense_pass import SHARD_IMAGES, DenseTools, Scorer, run_dense_pass
from foresift.inference.shards import ImagePass, PassReport
from foresift.sources.read import fetch

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


class SubjectOf(Protocol[S_co]):
    """A model as passes over images in their own size take it."""

    @property
    def key(self) -> str:
        """Digest of everything that the network depends on."""
        ...

    @property
    def transform_key(self) -> str:
        """Digest of how pixels reach the network."""
        ...

    def subject(self) -> S_co:
        """The network, loaded."""
        ...


class DensePass(Protocol[S_contra]):
    """What is stored of each image, such as :class:`foresift.inference.dense_columns.PatchGrid`."""

    @property
    def name(self) -> str:
        """As in the store."""
        ...

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        ...

    def scorer(self, subject: S_contra) -> Scorer:
        """What makes the row of an image."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseRows:
    """One row an image of a pool: where they lie, and which images have one."""

    store: GridStore
    producer: Producer
    pool: Pool
    """The usable images, n rows."""
    sizes: npt.NDArray[np.int32]
    """(n, 2) height and width of each."""
    quarantined: tuple[Quarantined, ...]
    report: PassReport
    notes: tuple[str, ...] = ()


def dense_rows(
    workspace: Workspace, pool: Pool, model: SubjectOf[S], column: DensePass[S], *, options: PassOptions
) -> DenseRows:
    """A row for every usable image of a pool; a second call infers nothing.

    Args:
        pool: with content digests.
    Raises:
        EmptyPoolError: not one usable image.
        QuarantineError: a broken file under ``strict``.
        UsageError: another engine was asked for.
        ModelError: the model can't give the column.
    """
    if engine_asked(options.engine)[0] not in ("auto", REFERENCE):
        raise UsageError(f"{column.name} is made by torch in float32; leave --engine {options.engine} out")
    if options.strict and pool.quarantined:
        first = pool.quarantined[0]
        raise QuarantineError(f"--strict: {len(pool.quarantined)} broken files, the first {first.uri}: {first.reason}")
    try:
        return _rows(workspace, pool, model, column, options)
    except DamagedRowsError as damage:  # they are out of the store now, and missing
        again = _rows(workspace, pool, model, column, options)
        return replace(again, notes=(f"{str(damage).partition(';')[0]}; they were inferred again",))


def producer_of(model: SubjectOf[S], column: DensePass[S]) -> Producer:
    """The key of the rows."""
    engine, precision = engine_identity(REFERENCE)
    return Producer(
        model=model.key,
        transform=model.transform_key,
        stage=column.spelling,
        engine=engine,
        precision=precision,
        batch=1,
    )


def _rows(
    workspace: Workspace, pool: Pool, model: SubjectOf[S], column: DensePass[S], options: PassOptions
) -> DenseRows:
    if not len(pool):
        raise EmptyPoolError(nothing_usable(pool, pool.quarantined))
    store, producer = workspace.grids(), producer_of(model, column)
    digests, first = np.unique(pool.digests, return_index=True)
    job = ImagePass(producer=producer, digests=digests, uris=pool.uris[first], batch=1, shard_rows=SHARD_IMAGES)
    tools = DenseTools(
        fetch=fetch,
        load=decode,
        scorer=lambda: column.scorer(model.subject()),
        store=store,
        claims=workspace.claims,
        progress=options.progress,
        broken=refuse_broken if options.strict else ignore_broken,
    )
    report = run_dense_pass(job, tools)
    if report.unread:
        lost = np.isin(digests, np.array(list(report.unread), dtype=np.str_))
        workspace.digests().forget(job.uris[lost].tolist())
    return _usable(store, producer, pool, report, strict=options.strict)


def _usable(store: GridStore, producer: Producer, pool: Pool, report: PassReport, *, strict: bool) -> DenseRows:
    reasons = np.array([report.unread.get(digest, "") for digest in pool.digests.tolist()], dtype=object)
    readable = np.flatnonzero(reasons == "")
    sizes = np.zeros((len(pool), 2), dtype=np.int32)
    for at, part in store.read(producer, pool.digests[readable]):
        sizes[readable[at]], reasons[readable[at]] = part.sizes, part.reasons
    good = reasons == ""
    broken = [Quarantined(uri=str(pool.uris[row]), reason=str(reasons[row])) for row in np.flatnonzero(~good)]
    if strict and broken:
        refuse_broken(broken[0].uri, broken[0].reason)
    quarantined = (*pool.quarantined, *broken)
    if not good.any():
        raise EmptyPoolError(nothing_usable(pool, quarantined))
    return DenseRows(
        store=store,
        producer=producer,
        pool=pool.take(good),
        sizes=sizes[good],
        quarantined=quarantined,
        report=report,
    )
