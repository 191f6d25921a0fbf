"""The receipt of an uploaded frame: who sent it, why, and how its bytes are recognised."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from foresift.core.digests import digest_value
from foresift.core.errors import DataError

HIT_FORMAT = 1
AT_ONCE, AT_DAYS_END = "above the threshold", "at the end of the day"
_DIGEST = re.compile(r"[0-9a-f]{40}")
_TEXT = re.compile(r"[^\ud800-\udfff]*")  # what UTF-8 can spell
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = re.compile(r"(?!\.json\Z)(\.[A-Za-z0-9]{1,8})?")  # a receipt ends in .json


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One frame that a device chose.

    Raises:
        DataError: a value that no device would write, such as a number above the quota.
    """

    fleet: str
    """Id of the exported folder that the device runs."""
    generation: str
    """Id of the generation that scored it: the surrogate."""
    device: str
    day: str
    number: int
    """1, 2, ... within the device's day; never above ``quota``."""
    quota: int
    digest: str
    """Of the frame's bytes."""
    size_bytes: int
    suffix: str
    """Of the file, such as ``.jpg``."""
    uri: str
    """Where it lay on the device."""
    score: float
    score_name: str
    why: str
    seen: str
    """Date and time when the device scored it, ISO 8601."""
    format: int = HIT_FORMAT

    def __post_init__(self) -> None:
        for name, form in _FORMS.items():
            if not form.fullmatch(getattr(self, name)):
                raise DataError(f"not the receipt of a hit: {name} is {getattr(self, name)[:40]!r}")
        if not math.isfinite(self.score) or self.size_bytes < 1:
            raise DataError(f"not the receipt of a hit: {self.size_bytes} bytes with a score of {self.score}")
        if not 1 <= self.number <= self.quota:
            raise DataError(f"number {self.number} of a day with a quota of {self.quota}")

    @property
    def id(self) -> str:
        """Content digest of the receipt."""
        return digest_value(self._plain())

    @property
    def place(self) -> tuple[str, str, str, int]:
        """What no two hits share: the fleet, the device, its day, the number within."""
        return self.fleet, self.device, self.day, self.number

    @property
    def name(self) -> str:
        """The name of its files, without suffix."""
        return f"{self.device}_{self.day}_{self.number:06d}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values with the id first, ready for JSON."""
        return {"id": self.id, **self._plain()}

    def _plain(self) -> dict[str, Any]:
        """Every field as it is: none holds anything that would have to be copied."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_dict(cls, plain: object) -> Hit:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: not a receipt, one that was changed, or one that no device would write.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != HIT_FORMAT:
            raise DataError("not the receipt of a hit")
        values = {field.name: plain.get(field.name) for field in fields(cls)}
        for name, kind in _KINDS.items():
            if isinstance(values[name], bool) or not isinstance(values[name], kind):
                raise DataError(f"not the receipt of a hit: {name} is {str(values[name])[:40]!r}")
        hit = cls(**values)  # type: ignore[arg-type]
        if hit.id != plain.get("id"):
            raise DataError("the receipt was changed since it was written")
        return hit


def checked_name(kind: str, name: str) -> str:
    """A device's or a day's name as it may stand in file names.

    Raises:
        DataError: other characters than letters, digits, dot, hyphen and underscore, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"{kind} {name[:80]!r}: expected letters, digits, dots, hyphens and underscores, at most 64")
    return name


def fitting_suffix(suffix: str) -> str:
    """A file's suffix if a receipt can hold it, else none: ``.55-cam1`` belongs to a date."""
    return suffix if _SUFFIX.fullmatch(suffix) else ""


_NAMES = tuple(field.name for field in fields(Hit))
_FORMS: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("fleet", "generation", "digest"), _DIGEST),
    **dict.fromkeys(("device", "day"), _NAME),
    "suffix": _SUFFIX,
    **dict.fromkeys(("uri", "score_name", "why", "seen"), _TEXT),
}
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("fleet", "generation", "device", "day", "digest", "suffix", "uri", "score_name", "why"), str),
    **dict.fromkeys(("number", "quota", "size_bytes", "format"), int),
    "score": (int, float),
    "seen": str,
}
