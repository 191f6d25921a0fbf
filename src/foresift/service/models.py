"""The model that a server scores with, and the generations that may take its place."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError, StaleError, StoreError
from foresift.core.times import utc_now
from foresift.service.pages import by_name
from foresift.service.refusals import NotFoundError
from foresift.stores.files import read_json, write_json
from foresift.stores.generations import displaced, generation_id, read_generation, require_same
from foresift.wire.messages import GenerationPage, GenerationView, PageRequest

_ID = re.compile(r"[0-9a-f]{8,64}")


class Held(NamedTuple):
    """A generation, and where it lies."""

    folder: Path
    generation: str
    """Its id: another one may take the folder meanwhile."""


class ModelInUse:
    """A generation folder: the one promoted last, else what the configuration names."""

    def __init__(self, workspace: Workspace, configured: Callable[[], Path], *, folder: Path) -> None:
        """Nothing is loaded or made before it is asked for.

        Args:
            configured: makes or finds what the configuration names.
            folder: where the choice is kept.
        """
        self._workspace, self._configured = workspace, configured
        self._kept = folder / "in-use.json"
        self._lock = threading.Lock()
        self._held: Held | None = None
        self._looking: threading.Thread | None = None
        self._trouble = "the model is being prepared"

    def folder(self) -> Path:
        """The generation folder; raises as :meth:`held`."""
        return self.held().folder

    def held(self) -> Held:
        """The generation in use: the same until another one is promoted, whatever takes its folder.

        Raises:
            ModelError: no weights to be had, or another generation where this one was; says how to mend it.
        """
        with self._lock:
            if self._held is None:
                folder = self._chosen() if self._kept.is_file() else self._configured()
                self._held = Held(folder, generation_id(folder))
            elif displaced(*self._held):
                generation = self._held.generation
                self._held = Held(self._workspace.generation_folder(generation), generation)
            return self._held

    def folder_of(self, generation: str | None) -> Path:
        """The folder of a generation; None = the one in use.

        Raises:
            NotFoundError: no id; a path is none.
            ModelError: no generation of that id.
        """
        if generation is None:
            return self.folder()
        if not _ID.fullmatch(generation):
            raise NotFoundError(f"no generation {generation[:64]!r}: expected 8 or more characters of an id")
        return self._workspace.generation_folder(generation)

    def trouble(self) -> str:
        """Why there is no model to score with yet, "" if there is one; answers at once, and prepares it meanwhile."""
        if self._held is not None and not displaced(*self._held):
            return ""
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self._look, daemon=True, name="foresift-model")
            self._looking.start()
        return self._trouble

    def promote(self, folder: Path, *, before: str | None = None, record: Mapping[str, Any]) -> GenerationView:
        """Score with a generation from now on; where it was promoted before and is in use, what was kept stays.

        Args:
            before: the id of the one that it was found to be better than; None = whatever is in use.
            record: what spoke for it, to be kept.
        Raises:
            StaleError: another one than ``before`` is in use meanwhile.
            ModelError: no generation in the folder.
        """
        view = self._view(folder)
        with self._lock:
            if before is not None and (self._held is None or self._held.generation != before):
                raise StaleError("another generation was promoted meanwhile; look, and try again")
            kept = self._kept_of(view.id) or {"generation": view.id, "at": utc_now(), **record}
            write_json(self._kept, {**kept, "folder": str(folder)})
            self._held = Held(folder, view.id)
        return view.model_copy(update={"in_use": True})

    def page(self, asked: PageRequest) -> GenerationPage:
        """Generations that the workspace knows, the one in use marked."""
        files = sorted((self._workspace.home / "generations").glob("*.json"))
        part, after = by_name(files, asked, lambda file: file.stem)
        found = []
        for file in part:
            try:
                found.append(self._view(require_same(Path(read_json(file)["folder"]), file.stem)))
            except ForesiftError:  # its folder is gone or another's, or it is no classifier
                continue
        return GenerationPage(items=found, next=after)

    def _chosen(self) -> Path:
        """Where the one promoted last lies; choices of earlier versions name no generation."""
        kept = read_json(self._kept)
        folder, generation = Path(kept["folder"]), str(kept.get("generation", ""))
        return self._workspace.generation_folder(generation) if generation and displaced(folder, generation) else folder

    def _kept_of(self, generation: str) -> dict[str, Any]:
        """The choice that is kept if it is this one, wherever it lay; {} for another, and one that can't be read.

        Choices of earlier versions name no generation: theirs is the one in use.
        """
        try:
            kept = dict(read_json(self._kept))
        except StoreError:
            return {}
        chosen = kept.get("generation", self._held and self._held.generation)
        return kept if chosen == generation else {}

    def _look(self) -> None:
        try:
            self.folder()
        except ForesiftError as error:
            self._trouble = str(error)

    def _view(self, folder: Path) -> GenerationView:
        record = read_generation(folder)
        return GenerationView(
            id=record.id,
            architecture=record.architecture,
            classes=list(record.classes),
            parent=record.parent,
            metrics=dict(record.metrics),
            in_use=self._held is not None and record.id == self._held.generation,
        )
