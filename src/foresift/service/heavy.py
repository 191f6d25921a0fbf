"""A server's heavy work, in a process beside its own.

Looks at images, selections and measurements fill processors and may hold Python's lock for seconds, whatever a
strategy does. The process that answers requests does none of it: it asks another one, which steps back whenever there
is a request to answer, and which it can kill.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError
from foresift.core.predictions import Producer
from foresift.core.protocols import Progress, Silent
from foresift.executors import Child, ChildDiedError, ChildFailedError, StoppedError
from foresift.service.allowed import Allowed
from foresift.service.diary import LOG
from foresift.service.jobs import NICENESS, CancelledJobError, Work
from foresift.service.refusals import NotReadyError
from foresift.sources.fence import Fence
from foresift.wire.config import ModelSection, Settings

MODULE = "foresift.service.heavy_tasks"
TRIES = 2
"""Processes that one piece of work may cost; it is to blame then."""
LEAVE_S = 5.0
"""How long others who share the work have to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What became of the samples of a pool."""

    began: float
    """By the monotonic clock: what was written down before was seen."""
    seconds: float
    usable: int
    inferred: int
    quarantined: tuple[tuple[str, str], ...]
    """Address and reason."""
    made: Producer | None
    """Whose predictions they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question about a pool, as far as the process needs it."""

    pool: Path
    strategy: str
    budget: int
    seed: int
    allow_short: bool
    labeled: Path | None
    model: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A selection that was made and kept."""

    receipt: str
    """Its id."""
    strategy: str
    """Canonical spelling."""
    model: str | None
    untrained: bool
    rows: tuple[Mapping[str, Any], ...]
    """``rank, id, uri, score, arm`` in pick order."""
    quarantined: int
    notes: tuple[str, ...]
    made: Producer | None
    """Whose predictions it was made from; None = it read none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two generations and the labeled images that decide between them."""

    new: Path
    holder: Path
    on: str
    name: str
    force: bool
    allowed: Allowed
    """Where these images may lie."""


class HeavyWork:
    """One piece of work at a time; any thread may ask, and waits for its turn. The process starts with the first."""

    def __init__(self, workspace: Workspace, settings: Settings, fence: Fence) -> None:
        """``fence``: around the process, and around whoever shares its work."""
        self._ours = {"engine": settings.model.engine, "batch": settings.model.batch_size}
        self._shared = settings.ray is not None or settings.server.replicas > 1
        self._child = Child(
            _command(workspace, replicas=settings.server.replicas, ray=settings.ray),
            environment={**os.environ, **fence.environment},
            niceness=NICENESS,
        )
        self.turn = threading.Lock()
        """Held by whoever is served."""
        self._closed = threading.Event()

    def join(self) -> None:
        """Find whoever shares the work now; raises as :func:`foresift.app.passes.crews.crew_of`."""
        self._done("join", {})

    def prepare(self, asked: ModelSection, base: Path) -> Path:
        """The folder of the model that a configuration names.

        Raises:
            ForesiftError: as :func:`foresift.app.models.served_model.served_model`.
        """
        plain = asked.model_dump(mode="json", include={"name", "weights", "image_size", "classes"})
        return Path(self._done("prepare", {**plain, "base": str(base)})["folder"])

    def look(self, pool: Path, model: Path, work: Work) -> Looked:
        """Infer whatever the store lacks of a pool.

        Raises:
            CancelledJobError: somebody asked it to stop.
            ForesiftError: as :func:`foresift.app.passes.predicting.predict`.
        """
        with self.turn:
            began = time.monotonic()
            plain = self._call("look", {**self._ours, "pool": str(pool), "model": str(model)}, work)
            return Looked(
                began=began,
                seconds=time.monotonic() - began,
                usable=plain["usable"],
                inferred=plain["inferred"],
                quarantined=tuple((uri, reason) for uri, reason in plain["quarantined"]),
                made=_producer(plain["made"]),
            )

    def choose(self, asked: Asked) -> Chosen:
        """Choose, and keep the receipt.

        Raises:
            ForesiftError: as :func:`foresift.app.selecting.pool_selection.select_from_pool`.
        """
        plain = self._done(
            "choose",
            {
                **self._ours,
                "pool": str(asked.pool),
                "strategy": asked.strategy,
                "budget": asked.budget,
                "seed": asked.seed,
                "allow_short": asked.allow_short,
                "labeled": None if asked.labeled is None else str(asked.labeled),
                "model": None if asked.model is None else str(asked.model),
            },
        )
        return Chosen(
            receipt=plain["receipt"],
            strategy=plain["strategy"],
            model=plain["model"],
            untrained=plain["untrained"],
            rows=tuple(plain["rows"]),
            quarantined=plain["quarantined"],
            notes=tuple(plain["notes"]),
            made=_producer(plain["made"]),
        )

    def measure(self, pool: Path, model: Path, labels: Path, work: Work) -> dict[str, Any]:
        """What a generation is worth on labels; raises as :meth:`look`, or as ``evaluated``."""
        values = {"pool": str(pool), "model": str(model), "labels": str(labels), "batch": self._ours["batch"]}
        with self.turn:
            return self._call("measure", values, work)

    def compare(self, asked: Compared) -> dict[str, Any]:
        """``evaluation`` and, where it is promoted all the same, ``problem``: why it should not be.

        Raises:
            NotBetterError: the new one does not beat the other, and nobody forces it.
            ForesiftError: as :func:`foresift.app.generations.judging.judge`; or an image lies outside of the roots.
        """
        allowed = {"roots": [str(root) for root in asked.allowed.roots], "hosts": asked.allowed.hosts}
        return self._done(
            "compare",
            {
                "new": str(asked.new),
                "holder": str(asked.holder),
                "on": asked.on,
                "name": asked.name,
                "force": asked.force,
                "batch": self._ours["batch"],
                "allowed": {**allowed, "allow_private": asked.allowed.allow_private},
            },
        )

    def close(self) -> None:
        """Stop what is being done and end the process, and with it whoever shares its work."""
        self._closed.set()
        with self.turn:
            if self._shared and self._child.pid is not None:
                until = time.monotonic() + LEAVE_S
                with suppress(ForesiftError):
                    self._child.call("leave", {}, should_stop=lambda: time.monotonic() > until)
            self._child.kill()

    def _done(self, task: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked for by a request, which nobody can cancel."""
        with self.turn:
            return self._call(task, values)

    def _call(self, task: str, values: Mapping[str, Any], work: Work | None = None) -> dict[str, Any]:
        stop: Callable[[], bool] = (lambda: False) if work is None else work.stop.is_set
        progress: Progress = Silent() if work is None else work
        for tried in range(1, TRIES + 1):
            try:
                return self._child.call(
                    task, values, progress=progress, should_stop=lambda: self._closed.is_set() or stop()
                )
            except StoppedError:
                raise _stopped(work) from None
            except ChildFailedError as failure:
                LOG.error("%s failed: %s", task, "\n".join(failure.said))
                raise RuntimeError(str(failure)) from None
            except ChildDiedError:
                if tried == TRIES:
                    raise
        raise AssertionError("one of the tries ends it")


def _command(workspace: Workspace, *, replicas: int, ray: str | None) -> list[str]:
    place = {"home": str(workspace.home), "store": workspace.store, "replicas": replicas, "ray": ray}
    return [sys.executable, "-m", MODULE, json.dumps(place)]


def _stopped(work: Work | None) -> ForesiftError:
    if work is not None and work.stop.is_set():
        return CancelledJobError("cancelled")
    return NotReadyError("the server is about to end; ask again in a moment, or another one")


def _producer(plain: Mapping[str, Any] | None) -> Producer | None:
    return None if plain is None else Producer(**plain)
