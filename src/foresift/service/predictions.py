"""What generations said of the samples of a pool, as it lies in the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model, open_model, require_head
from foresift.app.passes.kept import KeptLogits, kept_logits
from foresift.app.workspace import Workspace
from foresift.core.errors import EmptyPoolError, UsageError
from foresift.core.predictions import Producer
from foresift.core.protocols import PredictionStore
from foresift.kernels.softmax import log_softmax
from foresift.scores import SCORES
from foresift.scores.registry import Score
from foresift.service.opened import Opened, OpenedPools
from foresift.service.pages import by_position
from foresift.service.samples import Samples
from foresift.stores.files import read_json, write_json
from foresift.stores.generations import read_generation
from foresift.wire.messages import PredictionPage, PredictionsRequest, PredictionView

_NOT_FINITE = "its logits are not finite"


class PoolPredictions:
    """Remembers which pass looked at a pool last, by generation, so that reading needs no other."""

    def __init__(self, workspace: Workspace, opened: OpenedPools, folder: Path) -> None:
        self._workspace, self._opened, self._folder = workspace, opened, folder
        self._lock = threading.Lock()

    def note(self, pool: str, model: Path, made: Producer | None) -> None:
        """A generation looked at a pool, and these predictions came of it."""
        if made is None:
            return
        generation = read_generation(model).id
        with self._lock:
            noted = self._noted(pool)
            if noted.get(generation) != asdict(made):
                write_json(self._file(pool), {**noted, generation: asdict(made)})

    def page(self, samples: Samples, model: Path, asked: PredictionsRequest) -> PredictionPage:
        """What a generation said of a part of the samples.

        Raises:
            UsageError: no score of logits.
            EmptyPoolError: nothing was pushed.
            ModelError: the generation gives no logits.
        """
        score = _score(asked.score)
        if not len(samples):
            raise EmptyPoolError(f"pool {samples.name} is empty; push samples first")
        part, after = by_position(samples.all_places(), asked)
        found, opened = open_model(self._workspace, model), self._opened.of(samples)
        said = self._said(samples.name, found, opened.digests(part), score)
        views = [_view(samples.given(place), opened, place, said) for place in part]
        return PredictionPage(
            generation=found.generation.id,
            score=score.name,
            classes=list(found.generation.classes),
            items=views if asked.logits else [view.model_copy(update={"logits": []}) for view in views],
            next=after,
        )

    def _said(self, pool: str, model: Model, digests: npt.NDArray[np.str_], score: Score) -> dict[str, PredictionView]:
        """What a generation said, by content; nothing of what it did not look at."""
        noted = self._noted(pool).get(model.generation.id)
        require_head(model, "reading predictions")
        if noted is None:
            return {}
        kept = kept_logits(self._store, model, Producer(**noted), digests)
        return dict(zip(digests[kept.known].tolist(), _read(kept, model.generation.classes, score), strict=True))

    @cached_property
    def _store(self) -> PredictionStore:
        """One for all pages: it remembers where rows lie, until there are others."""
        return self._workspace.predictions()

    def _noted(self, pool: str) -> dict[str, Any]:
        file = self._file(pool)
        return dict(read_json(file)) if file.is_file() else {}

    def _file(self, pool: str) -> Path:
        return self._folder / f"{pool}.json"


def _score(name: str) -> Score:
    score = SCORES.get(name)
    if score.needs != ("logits",):
        raise UsageError(f"score: {score.name} needs {' and '.join(score.needs)}; expected one that needs logits alone")
    return score


def _read(kept: KeptLogits, classes: Sequence[str], score: Score) -> Iterator[PredictionView]:
    """A view of each row, in order."""
    finite = np.asarray(np.isfinite(kept.logits).all(axis=1))
    logits = np.where(finite[:, None], kept.logits, 0)
    likely, top, values = np.exp(log_softmax(logits)), logits.argmax(axis=1), score(logits)
    for row, reason in enumerate(kept.reasons.tolist()):
        if reason or not finite[row]:
            yield PredictionView(uri="", state="broken", reason=reason or _NOT_FINITE)
            continue
        yield PredictionView(
            uri="",
            state="ready",
            predicted=classes[top[row]],
            probability=float(likely[row, top[row]]),
            score=float(values[row]),
            logits=logits[row].tolist(),
        )


def _view(given: str, opened: Opened, place: str, said: Mapping[str, PredictionView]) -> PredictionView:
    row, reason = opened.rows.get(place), opened.reason(place)
    if row is None or reason:
        return PredictionView(uri=given, state="broken", reason=reason or "it can't be read")
    found = said.get(str(opened.pool.digests[row]))
    return PredictionView(uri=given, state="waiting") if found is None else found.model_copy(update={"uri": given})
