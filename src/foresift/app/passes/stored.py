"""Predictions of a pool by a generation: from the store where it has them, else inferred and stored.

torch is imported only when something has to be inferred, so that a second look at an
unchanged pool is a matter of reading columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foresift.app.models.calibration import Int8
from foresift.app.models.engine_choice import Bench, ScoreInUse, choose_engine, choose_unranked
from foresift.app.models.engines import Engines, ModelEngines
from foresift.app.models.opening import BACKBONE, Model, require_head
from foresift.app.passes.sharing import share_pass
from foresift.app.workspace import Workspace
from foresift.core.arrays import Embeddings, Logits, Pixels
from foresift.core.digests import digest_value
from foresift.core.errors import DamagedRowsError, DataError, EmptyPoolError, ModelError, QuarantineError
from foresift.core.predictions import Column, Predictions, Producer
from foresift.core.protocols import Outputs, PredictionStore, Progress, Silent, StoredRows
from foresift.core.samples import Pool, Quarantined
from foresift.engines import INT8, engine_identity
from foresift.executors import Crew
from foresift.inference.decode import decoder_version
from foresift.inference.pipeline import ForwardPass, PassReport, Tools, run_pass
from foresift.inference.transform import load
from foresift.inference.tuning import Choice
from foresift.sources.read import fetch

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """Predictions of the usable samples, and what became of the others."""

    predictions: Predictions
    quarantined: tuple[Quarantined, ...]
    report: PassReport
    choice: Choice
    notes: tuple[str, ...] = ()
    """What a person should know of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOptions:
    """How a pass runs; none of it changes which samples exist."""

    engine: str = "auto"
    score: ScoreInUse = field(default_factory=ScoreInUse)
    """What the rank check of a faster engine looks at."""
    batch: int | None = None
    """Images a call; None = measured or a default, then kept."""
    strict: bool = False
    """A broken image is fatal."""
    progress: Progress = field(default_factory=Silent)
    crew: Crew | None = None
    """Workers that share what has to be inferred; None = this process does it all."""


def predict_pool(
    workspace: Workspace, pool: Pool, model: Model, *, columns: Sequence[str], options: PassOptions
) -> PassResult:
    """Predictions of every usable sample of a pool, in ascending order of id.

    Args:
        pool: with content digests.
        columns: ``logits``, ``embeddings`` or both.
    Raises:
        EmptyPoolError: not one usable sample.
        ModelError: logits of a generation without a head.
        QuarantineError: a broken file under ``strict``.
    """
    if "logits" in columns:
        require_head(model, "this")
    try:
        return _predicted(workspace, pool, model, columns=columns, options=options)
    except DamagedRowsError as damage:  # they are out of the store now, and missing
        again = _predicted(workspace, pool, model, columns=columns, options=options)
        return replace(again, notes=(f"{str(damage).partition(';')[0]}; they were inferred again",))


def _predicted(
    workspace: Workspace, pool: Pool, model: Model, *, columns: Sequence[str], options: PassOptions
) -> PassResult:
    job = forward_job(workspace, pool, model, options=options)
    choice = job.choose()
    producer = job.producer(choice.engine, choice.batch)
    report = job.run(choice, producer)
    return job.collect(
        choice,
        report,
        read=lambda digests: read_stored(job.store, producer, digests, model, columns),
        columns=lambda stored, good: _columns(stored, good, producer, model),
    )


def forward_job(workspace: Workspace, pool: Pool, model: Model, *, options: PassOptions) -> PoolJob:
    """The forward pass of a model over a pool; raises as :func:`open_job`."""
    engines = ModelEngines(model, graph=lambda network: job.int8.graph(network))
    job = open_job(workspace, pool, model, options=options, key=model.key, stage=model.stage, engines=engines)
    return job


def open_job(
    workspace: Workspace, pool: Pool, model: Model, *, options: PassOptions, key: str, stage: str, engines: Engines
) -> PoolJob:
    """One pass over a pool, ready to run.

    Args:
        pool: with content digests.
        key: digest of what the values depend on, beside the transform and the stage.
    Raises:
        EmptyPoolError: not one sample.
        QuarantineError: a broken file under ``strict``.
    """
    if options.strict and pool.quarantined:
        first = pool.quarantined[0]
        raise QuarantineError(f"--strict: {len(pool.quarantined)} broken files, the first {first.uri}: {first.reason}")
    if not len(pool):
        raise EmptyPoolError(nothing_usable(pool, pool.quarantined))
    digests, first_rows = np.unique(pool.digests, return_index=True)
    return PoolJob(
        workspace=workspace,
        store=workspace.predictions(),
        pool=pool,
        model=model,
        key=key,
        stage=stage,
        digests=digests,
        uris=pool.uris[first_rows],
        transform_key=digest_value([model.generation.transform.digest, decoder_version()]),
        options=options,
        engines=engines,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolJob:
    """One pass over the samples of a pool: what it is run on and with."""

    workspace: Workspace
    store: PredictionStore
    pool: Pool
    model: Model
    key: str
    stage: str
    digests: npt.NDArray[np.str_]
    """Ascending and distinct."""
    uris: npt.NDArray[np.str_]
    transform_key: str
    options: PassOptions
    engines: Engines

    @property
    def crew(self) -> Crew | None:
        """Who shares the work, where others can do it."""
        return self.options.crew if self.engines.portable else None

    def producer(self, engine: str, batch: int) -> Producer:
        """The key of the rows that an engine gives."""
        library, precision = self.identity(engine)
        return Producer(
            model=self.key,
            transform=self.transform_key,
            stage=self.stage,
            engine=library,
            precision=precision,
            batch=batch,
        )

    def identity(self, engine: str) -> tuple[str, str]:
        """As :func:`foresift.engines.engine_identity`; of whole numbers, also what they were calibrated on."""
        library, precision = engine_identity(engine)
        return library, f"{precision}-{self.int8.calibration().digest[:12]}" if engine == INT8 else precision

    @property
    def int8(self) -> Int8:
        """The network in whole numbers, for the engine that needs it."""
        return Int8(
            workspace=self.workspace,
            place=self._place,
            key=(self.key, self.stage, self.transform_key),
            digests=self.digests,
            draw=self._sample,
            size=self.model.generation.transform.size,
        )

    @property
    def _place(self) -> str:
        """Names what is remembered of this pass over this pool."""
        return digest_value([self.pool.name, self.key, self.stage, self.transform_key])

    def choose(self) -> Choice:
        """The engine and batch size: asked for, remembered, or measured."""
        bench = Bench(
            record=self.workspace.choice(self._place),
            size=self.model.generation.transform.size,
            digests=self.digests,
            missing=self._missing,
            sample=self._sample,
            make=self.engines.make,
            logits_of=self._logits_of(),
            identity=self.identity,
            left_out=() if self.crew is None else (INT8,),  # its graph lies in this workspace: others could not help
        )
        asked, batch = self.options.engine, self.options.batch
        if self.model.gives_logits:
            choice = choose_engine(asked, bench, score=self.options.score, batch=batch)
        else:
            choice = choose_unranked(asked, bench, batch=batch)
        return replace(choice, calibration=self.int8.calibration().to_dict()) if choice.engine == INT8 else choice

    def run(self, choice: Choice, producer: Producer) -> PassReport:
        """Infer and store what the store lacks."""
        report = PassReport()
        if self.crew is not None and choice.engine != INT8:  # its graph lies in this workspace
            report.add(share_pass(self, self.crew, choice, producer))
        report.add(run_pass(self.forward(choice, producer), self.tools(choice)))
        if report.unread:
            # A file that was replaced under the same size and time is looked at afresh next time.
            lost = np.isin(self.digests, np.array(list(report.unread), dtype=np.str_))
            self.workspace.digests().forget(self.uris[lost].tolist())
        return report

    def forward(self, choice: Choice, producer: Producer) -> ForwardPass:
        """What is inferred."""
        return ForwardPass(
            producer=producer,
            digests=self.digests,
            uris=self.uris,
            batch=choice.batch,
            size=self.model.generation.transform.size,
        )

    def tools(self, choice: Choice) -> Tools:
        """What it is inferred with."""
        self.engines.keep(choice.engine, choice.batch)
        return Tools(
            fetch=fetch,
            load=self._load,
            engine=lambda: self.engines.make(choice.engine, choice.batch),
            store=self.store,
            claims=self.workspace.claims,
            progress=self.options.progress,
            broken=refuse_broken if self.options.strict else ignore_broken,
        )

    def collect(
        self,
        choice: Choice,
        report: PassReport,
        *,
        read: Callable[[npt.NDArray[np.str_]], StoredRows],
        columns: Callable[[StoredRows, npt.NDArray[np.bool_]], dict[str, Column]],
    ) -> PassResult:
        """Rows of the store joined to the pool's samples; quarantined ones left out, with reasons."""
        readable = ~np.isin(self.pool.digests, np.array(list(report.unread), dtype=np.str_))
        rows = np.flatnonzero(readable)
        stored = read(self.pool.digests[rows])
        good = stored.reasons == ""
        broken = [*self.pool.quarantined, *self._unread(readable, report), *self._undecodable(rows, stored)]
        if self.options.strict and len(broken) > len(self.pool.quarantined):
            refuse_broken(broken[-1].uri, broken[-1].reason)
        if not good.any():
            raise EmptyPoolError(nothing_usable(self.pool, broken))
        predictions = Predictions(
            sample_ids=self.pool.ids[rows[good]],
            columns=columns(stored, good),
            uris=self.pool.uris[rows[good]],
        )
        return PassResult(predictions=predictions, quarantined=tuple(broken), report=report, choice=choice)

    def _unread(self, readable: npt.NDArray[np.bool_], report: PassReport) -> list[Quarantined]:
        return [
            Quarantined(uri=str(self.pool.uris[row]), reason=report.unread[str(self.pool.digests[row])])
            for row in np.flatnonzero(~readable)
        ]

    def _undecodable(self, rows: npt.NDArray[np.intp], stored: StoredRows) -> list[Quarantined]:
        return [
            Quarantined(uri=str(self.pool.uris[rows[at]]), reason=str(stored.reasons[at]))
            for at in np.flatnonzero(stored.reasons != "")
        ]

    def _missing(self, engine: str, batch: int) -> npt.NDArray[np.str_]:
        return self.digests[~np.isin(self.digests, self.store.known(self.producer(engine, batch)))]

    def _load(self, data: bytes) -> Pixels:
        return load(data, self.model.generation.transform)

    def _sample(self, digests: npt.NDArray[np.str_], count: int) -> tuple[npt.NDArray[np.str_], Pixels]:
        """Up to ``count`` decodable images, spread evenly over the given ascending digests."""
        kept: list[str] = []
        images: list[Pixels] = []
        for digest in digests[:: max(1, len(digests) // count)].tolist():
            if len(images) == count:
                break
            row = int(np.searchsorted(self.digests, digest))
            if row == len(self.digests) or self.digests[row] != digest:  # the pool held it once
                continue
            try:
                images.append(self._load(fetch(str(self.uris[row]))))
            except DataError:
                continue
            kept.append(digest)
        side = self.model.generation.transform.size
        pixels = np.stack(images) if images else np.zeros((0, side, side, 3), dtype=np.uint8)
        return np.array(kept, dtype="<U40"), pixels

    def _logits_of(self) -> Callable[[Outputs], Logits]:
        """Logits of the sample that engines are compared on."""
        loaded: list[nn.Module] = []

        def logits(outputs: Outputs) -> Logits:
            if self.model.stage != BACKBONE or self.model.backbone_only:
                return outputs.logits
            from foresift.models import head_logits

            if not loaded:
                loaded.append(self.model.network())
            return head_logits(loaded[0], outputs.embeddings)

        return logits


def read_stored(
    store: PredictionStore,
    producer: Producer,
    digests: npt.NDArray[np.str_],
    model: Model | None,
    columns: Sequence[str],
) -> StoredRows:
    """Rows of a producer; for the ``backbone`` stage, logits are computed by the model's head.

    Raises:
        KeyError: a digest is not stored.
        ModelError: logits of the ``backbone`` stage without a model.
    """
    if producer.stage != BACKBONE or "logits" not in columns:
        return store.read(producer, digests, columns=columns)
    if model is None:
        raise ModelError("these logits come from a head on stored embeddings; its generation folder is needed")
    stored = store.read(producer, digests, columns=("embeddings",))
    assert stored.embeddings is not None  # noqa: S101 - asked for in the line above
    good = stored.reasons == ""
    # Good rows alone, because the number of rows can change how a product rounds: a receipt
    # knows the usable samples only, and has to be replayed to the same bits.
    some = _head_logits(model, stored.embeddings[good])
    logits = np.zeros((len(good), some.shape[1]), dtype=np.float32)
    logits[good] = some
    return replace(stored, logits=logits, embeddings=stored.embeddings if "embeddings" in columns else None)


def _head_logits(model: Model, embeddings: Embeddings) -> Logits:
    from foresift.models import head_logits

    return head_logits(model.network(), embeddings)


def _columns(stored: StoredRows, good: npt.NDArray[np.bool_], producer: Producer, model: Model) -> dict[str, Column]:
    head = replace(producer, stage=f"head {model.generation.weights}")
    columns = {}
    for name, values in (("logits", stored.logits), ("embeddings", stored.embeddings)):
        if values is not None:
            by = head if producer.stage == BACKBONE and name == "logits" else producer
            columns[name] = Column(values=values if good.all() else values[good], producer=by)
    return columns


def ignore_broken(uri: str, reason: str) -> None:
    """Broken images are reported when the pass is over."""


def refuse_broken(uri: str, reason: str) -> None:
    """A broken image ends the pass.

    Raises:
        QuarantineError: always.
    """
    raise QuarantineError(f"--strict: {uri}: {reason}")


def nothing_usable(pool: Pool, broken: Sequence[Quarantined]) -> str:
    """Why there is nothing to look at, in one line."""
    if not broken:
        return f"{pool.name} holds no images; give a folder of images, a manifest or a list of addresses"
    return f"{pool.name} holds no usable image: {len(broken)} broken, the first {broken[0].uri}: {broken[0].reason}"
