"""Images of a remote pool are inferred while others are still downloaded.

Who a sample is follows from its bytes, so that a remote pool is known only when all of it was downloaded. Waiting for
that would cost the time of both. Instead each image goes through the network as it comes; when the pool is known, its
pass finds every row in the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from foresift.app.models.calibration import IMAGES
from foresift.app.models.engine_choice import default_batch
from foresift.app.models.engines import ModelEngines
from foresift.app.models.opening import Model
from foresift.app.passes.sharing import share_arrivals
from foresift.app.passes.stored import PassOptions, PassResult, PoolJob, forward_job
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.errors import EmptyPoolError
from foresift.core.protocols import Brought, Silent, Wanted
from foresift.core.samples import Pool
from foresift.engines import INT8
from foresift.inference.arriving import ArrivingPass
from foresift.inference.pipeline import PassReport
from foresift.inference.tuning import SAMPLE, Choice


def looking_ahead(
    workspace: Workspace, models: Sequence[Model], options: PassOptions, *, budget: int | None = None
) -> AbstractContextManager[Ahead | None]:
    """What is told of a pool's samples while it is opened: infers them by the first model; None without one.

    Args:
        budget: of the selection that the engine's ranking has to serve; None = as ``options`` say.
    """
    return Ahead(workspace, models[0], options, budget=budget) if models else nullcontext()


class Ahead:
    """Told of a pool's images as they come (:class:`foresift.core.protocols.Arrivals`); infers them by one model.

    Use it as a context manager around what downloads. The engine is chosen from the first images, as it would be
    for the whole pool.
    """

    def __init__(self, workspace: Workspace, model: Model, options: PassOptions, *, budget: int | None = None) -> None:
        self._workspace = workspace
        self._model = model
        # The downloads are what a person sees the progress of: they wait for the network where that is slower.
        self._options, self._progress = replace(options, progress=Silent()), options.progress
        self._budget = budget
        self._name = ""
        self._expected = 0
        self._first: list[tuple[str, str, bytes | None]] = []
        self._wanted = 0
        self._pass: ArrivingPass | None = None
        self._chosen: tuple[PoolJob, Choice] | None = None
        self._shared = PassReport()
        self._crew = options.crew if ModelEngines(model).portable else None

    def begin(self, pool: str, total: int) -> None:
        """So many images of a pool are going to come."""
        self._name, self._expected = pool, total
        if self._budget is not None:
            share = min(1.0, max(1, self._budget) / max(1, total))
            self._options = replace(self._options, score=replace(self._options.score, share=share))
        self._wanted = self._options.batch or default_batch(self._model.generation.transform.size)

    def add(self, uri: str, digest: str, data: bytes | None) -> None:
        """The next image, in ascending order of address; waits while there is enough to do."""
        if self._pass is not None:
            self._pass.add(uri, digest, data)
            return
        self._first.append((uri, digest, data))
        if len(self._first) >= min(self._wanted, self._expected):
            self._start()

    def own(self, left: int) -> int:
        """All of them, or with a crew those first ones that the engine is chosen by."""
        if self._crew is None:
            return left
        return min(left, max(1, self._wanted - len(self._first))) if self._chosen is None else 0

    def brought(self, wanted: Sequence[Wanted]) -> Iterator[Brought]:
        """What the crew made of the others, in order."""
        crew = self._crew
        assert crew is not None and self._chosen is not None  # noqa: S101, PT018 - or they would be our own
        job, choice = self._chosen
        producer = job.producer(choice.engine, choice.batch)
        return share_arrivals(job, crew, choice, producer, wanted, self._shared, progress=self._progress)

    def counted(self, result: PassResult) -> PassResult:
        """The result of the pool's own pass, with what was inferred ahead of it."""
        if self._pass is None:
            return result
        whole = PassReport()
        for report in (self._pass.report, self._shared, result.report):
            whole.add(report)
        whole.unread = result.report.unread
        return replace(result, report=whole)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._first:
            self._expected = 0  # nothing more comes: broken objects were counted as well
            self._start()
        if self._pass is not None:
            self._pass.__exit__(kind, error, trace)

    def _start(self) -> None:
        """Choose the engine, or wait for more images where they are to be compared."""
        job = self._first_job()
        try:
            choice = job.choose()
        except _TooFewError:
            self._wanted = SAMPLE
            return
        except EmptyPoolError:  # not one of the first images can be decoded: the pool's own pass will say which
            choice = None
        waiting, self._first = self._first, []
        if choice is None:
            self._wanted = self._expected + 1
            return
        started = ArrivingPass(job.forward(choice, job.producer(choice.engine, choice.batch)), job.tools(choice))
        self._pass, self._chosen = started.__enter__(), (job, choice)
        if choice.engine == INT8:  # its graph lies in this workspace
            self._crew = None
        for one in waiting:
            started.add(*one)

    def _first_job(self) -> _FirstJob:
        digests = dict.fromkeys(digest for _, digest, _ in self._first)
        uris = {digest: uri for uri, digest, _ in self._first}
        pool = Pool.from_columns(self._name, list(digests), uris=[uris[one] for one in digests], digests=list(digests))
        job = forward_job(self._workspace, pool, self._model, options=self._options)
        fields = {name: getattr(job, name) for name in PoolJob.__dataclass_fields__}
        return _FirstJob(**fields, expected=max(self._expected, len(digests)))


class _TooFewError(Exception):
    """Engines would be compared, and the images for it are not here yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstJob(PoolJob):
    """A job over the first images, that chooses for as many as are expected."""

    expected: int

    def _missing(self, engine: str, batch: int) -> npt.NDArray[np.str_]:
        """What the store lacks of the first images, each standing for several that come later."""
        return np.repeat(PoolJob._missing(self, engine, batch), -(-self.expected // len(self.digests)))

    def _sample(self, digests: npt.NDArray[np.str_], count: int) -> tuple[npt.NDArray[np.str_], Pixels]:
        if count >= IMAGES and len(self.digests) < min(SAMPLE, self.expected):
            raise _TooFewError
        return PoolJob._sample(self, digests, count)
