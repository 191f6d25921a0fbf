"""Engines for one model, built when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from foresift.app.models.opening import BACKBONE, Model
from foresift.core.arrays import Pixels
from foresift.core.protocols import Engine, Outputs
from foresift.engines import make_engine

if TYPE_CHECKING:
    from torch import nn


class Engines(Protocol):
    """Where a pass has its engines from."""

    @property
    def portable(self) -> bool:
        """Whether another process has the same ones, given the model's folder."""
        ...

    def make(self, name: str, batch: int) -> Engine:
        """The engine of a name at a batch size."""
        ...

    def keep(self, name: str, batch: int) -> None:
        """Let go of every other engine."""
        ...


class ModelEngines:
    """Engines for one model, each built once: what a measurement has warmed up, the pass goes on with."""

    def __init__(self, model: Model, *, graph: Callable[[nn.Module], Path] | None = None) -> None:
        """No engine yet.

        Args:
            graph: the calibrated graph of the network, for engines that need one.
        """
        self._model, self._graph = model, graph
        self._network: nn.Module | None = None
        self._built: dict[tuple[str, int], Engine] = {}

    @property
    def portable(self) -> bool:
        """Whether the model's folder is all that it takes."""
        return self._model.module is None

    def make(self, name: str, batch: int) -> Engine:
        """The engine of a name at a batch size; weights are loaded with the first."""
        key = (name, batch)
        if key not in self._built:
            self._built[key] = self._build(name, batch)
        return self._built[key]

    def keep(self, name: str, batch: int) -> None:
        """Let go of every other engine."""
        self._built = {key: engine for key, engine in self._built.items() if key == (name, batch)}

    def load(self) -> nn.Module:
        """The network; once this was called the model's files may go away."""
        from foresift.models import ScoringModule

        self._network = self._network or ScoringModule(self._model.network(), self._model.generation.transform)
        return self._network

    def _build(self, name: str, batch: int) -> Engine:
        size = self._model.generation.transform.size
        engine = make_engine(name, self.load(), size=size, batch=batch, graph=self._graph)
        return _EmbeddingsOnly(engine) if self._model.stage == BACKBONE else engine


class _EmbeddingsOnly:
    """An engine whose logits are left out, because they belong to a head and the row to its backbone."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.precision, self.version = engine.name, engine.precision, engine.version
        self._engine = engine

    def __call__(self, batch: Pixels) -> Outputs:
        embeddings = self._engine(batch).embeddings
        return Outputs(np.zeros((len(embeddings), 1), dtype=np.float32), embeddings)
