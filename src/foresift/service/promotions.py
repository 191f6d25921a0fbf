"""Generations take the place of the one in use: for nothing, or because they beat it on labeled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foresift.app.generations.judging import NOT_COMPARED
from foresift.service.allowed import Allowed
from foresift.service.heavy import Compared, HeavyWork
from foresift.service.models import ModelInUse
from foresift.stores.generations import generation_id
from foresift.wire.messages import PromoteRequest, PromotionView

_IN_USE = "it was in use already: nothing was compared"


class Promotions:
    """The gate before :meth:`ModelInUse.promote`: the same as that of ``foresift generations promote``."""

    def __init__(self, model: ModelInUse, heavy: HeavyWork, allowed: Allowed) -> None:
        self._model, self._heavy, self._allowed = model, heavy, allowed

    def promote(self, generation: str, asked: PromoteRequest) -> PromotionView:
        """Score with a generation from now on; where labeled images are named, only if it beats the one in use.

        Raises:
            NotFoundError: no id; a path is none.
            ForbiddenError: images that the server may not read.
            NotBetterError: it does not beat the one in use, and nobody forces it; nothing changed.
            StaleError: somebody else promoted meanwhile.
            ForesiftError: as :func:`foresift.app.generations.judging.judge`.
        """
        folder = self._model.folder_of(generation)
        if asked.on is None:
            return self._promoted(folder, notes=[NOT_COMPARED])
        place, held = self._allowed.place(asked.on), self._model.held()
        if generation_id(folder) == held.generation:
            return self._promoted(folder, before=held.generation, notes=[_IN_USE])
        told = self._heavy.compare(
            Compared(
                new=folder, holder=held.folder, on=place, name=asked.name, force=asked.force, allowed=self._allowed
            )
        )
        return self._promoted(folder, before=held.generation, **told)

    def _promoted(
        self,
        folder: Path,
        *,
        before: str | None = None,
        evaluation: dict[str, Any] | None = None,
        problem: str | None = None,
        notes: Sequence[str] = (),
    ) -> PromotionView:
        record: dict[str, Any] = {"evaluation": evaluation, "forced": problem is not None, "problem": problem}
        view = self._model.promote(folder, before=before, record=record)
        return PromotionView(**view.model_dump(), **record, notes=list(notes))
