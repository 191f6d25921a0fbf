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

_WORDS = ("reason", "notes", "name", "folder", "problem")
"""Fields that hold words of the server, whose texts and parts are looked at; others hold ids, or what clients gave."""
_RECEIPT = "receipt"
_AS_THEY_ARE = ("id", "ids", "uri", "uris", "classes")
"""Fields of a receipt that clients compare with what they gave; all others are looked at, whatever they are called."""
_BEFORE = r"(?<![\w./~-])"
_SCHEME = r"(?>(?i:file):(?://[\w.-]*)?(?=/)|[A-Za-z][\w+.-]{0,30}://+(?=/))?+"
"""What makes an address of a local path: ``file:``, ``file://localhost`` or, of any kind, one without a host."""
_NAME, _ANY = r"[^\s'\"`<>|,;:()\[\]{}]", r"[^\s'\"`<>|]"
_START = r"(?:(?<!:)/+|/)(?!/)"
_UP = r"(?:/|%2[fF])(?:\.|%2[eE]){2}(?![\w.-])"
"""``/..``: no path that holds it lies where it seems to."""
_AFTER = re.compile(r"[.,;:)\]}/]*$")


class Discretion:
    """Hides absolute paths: ``/srv/models/a.onnx`` becomes ``.../a.onnx``, what lies under a root stays."""

    def __init__(self, *, roots: Iterable[Path], own: Iterable[Path]) -> None:
        """Nothing is read.

        Args:
            roots: folders that clients may address.
            own: folders of the server, known here so that spaces in them hide no less.
        """
        self._place = _places([str(one) for one in roots], [str(one) for one in own if one != one.parent])

    def text(self, said: str) -> str:
        """A text as clients may read it."""
        return self._place.sub(_shown, said)

    def view(self, view: BaseModel) -> dict[str, Any]:
        """The plain values of an answer as clients may read them."""
        plain = view.model_dump(mode="json")
        return {
            name: self._receipt(name, value) if name == _RECEIPT else self._part(name, value)
            for name, value in plain.items()
        }

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
        if isinstance(value, list) and (name in _WORDS or isinstance(next(iter(value), None), dict | list)):
            return [self._part(name, one) for one in value]
        return self.text(value) if isinstance(value, str) and name in _WORDS else value

    def _receipt(self, name: str, value: Any) -> Any:
        """A part of a receipt: strategies put into it what they like."""
        if isinstance(value, dict):
            return {str(self._receipt(name, inner)): self._receipt(inner, one) for inner, one in value.items()}
        if isinstance(value, list):
            return [self._receipt(name, one) for one in value]
        return self.text(value) if isinstance(value, str) and name not in _AS_THEY_ARE else value


def _places(roots: list[str], own: list[str]) -> re.Pattern[str]:
    """Where a text names a local path: between quotes up to the closing one, else up to the first space."""
    if "/" in roots:
        return re.compile("(?!)")
    shown = f"(?:{'|'.join(map(re.escape, roots)) or '(?!)'})"
    inside = r"(?:\\.|(?!(?P=mark))[^\n\\])"
    kept_inside = rf"{shown}(?:(?=/)|(?=(?P=mark)))(?!{inside}*?{_UP})"
    quoted = rf"(?P<mark>['\"`]){_SCHEME}(?!{kept_inside})(?P<quoted>{_START}{inside}+)(?=(?P=mark))"
    kept = rf"{shown}(?!{_ANY}*?{_UP})(?:/{_NAME}*|(?![\w-]|\.\w))"
    hidden = "|".join([*(rf"{re.escape(one)}(?:/{_ANY}*|(?![\w-]|\.\w))" for one in own), rf"{_START}{_ANY}+"])
    return re.compile(rf"{quoted}|{_BEFORE}{_SCHEME}(?:{kept}|(?P<hidden>{hidden}))")


def _shown(found: re.Match[str]) -> str:
    whole = found["quoted"] or found["hidden"] or ""
    path = _AFTER.sub("", whole)
    return f"{found['mark'] or ''}.../{path.rpartition('/')[2]}{whole[len(path) :]}" if path else found[0]
