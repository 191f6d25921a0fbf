"""What the server says to clients: never where things lie on its disk, beyond the folders that they may address."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from foresift.core.errors import ForesiftError
from foresift.service.allowed import ForbiddenError
from foresift.service.diary import log_event

_WORDS = ("reason", "notes", "name", "folder")
"""Fields that hold words of the server, whose texts and parts are looked at; others hold ids, or what clients gave."""
_BEFORE = r"(?<![\w./~-])(?:file://)?"
_NAME, _ANY = r"[^\s'\"`<>|,;:()\[\]{}]", r"[^\s'\"`<>|]"
_AFTER = re.compile(r"[.,;:)\]}/]*$")


class Discretion:
    """Hides absolute paths: ``/srv/models/a.onnx`` becomes ``.../a.onnx``, what lies under a root stays."""

    def __init__(self, *, roots: Iterable[Path], own: Iterable[Path]) -> None:
        """Nothing is read.

        Args:
            roots: folders that clients may address.
            own: folders of the server, known here so that spaces in them hide no less.
        """
        kept = "|".join(rf"{_folder(root)}(?:/{_NAME}*|(?![\w-]|\.\w))" for root in roots)
        hidden = "|".join([*(rf"{_folder(one)}(?:/{_ANY}*|(?![\w-]|\.\w))" for one in own), rf"/(?!/){_ANY}+"])
        self._place = re.compile(rf"{_BEFORE}(?:(?P<kept>{kept or '(?!)'})|(?P<hidden>{hidden}))")

    def text(self, said: str) -> str:
        """A text as clients may read it."""
        return self._place.sub(_shown, said)

    def view(self, view: BaseModel) -> dict[str, Any]:
        """The plain values of an answer as clients may read them."""
        return {name: self._part(name, value) for name, value in view.model_dump(mode="json").items()}

    def refusal(self, error: ForesiftError) -> str:
        """Why a request is refused; where that hides something, the log has all of it."""
        said = str(error)
        if isinstance(error, ForbiddenError):  # it names what the client named, and nothing else
            return said
        told = self.text(said)
        if told != said:
            log_event("refused", level=logging.INFO, error=type(error).__name__, detail=said)
        return told

    def _part(self, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {inner: self._part(inner, one) for inner, one in value.items()}
        if isinstance(value, list) and (name in _WORDS or isinstance(next(iter(value), None), dict)):
            return [self._part(name, one) for one in value]
        return self.text(value) if isinstance(value, str) and name in _WORDS else value


def _folder(path: Path) -> str:
    return re.escape(str(path).rstrip("/"))


def _shown(found: re.Match[str]) -> str:
    path = _AFTER.sub("", found["hidden"] or "")
    return f".../{path.rpartition('/')[2]}{found['hidden'][len(path) :]}" if path else found[0]
