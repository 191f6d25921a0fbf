"""Lists in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from foresift.core.errors import UsageError
from foresift.wire.messages import PageRequest

T = TypeVar("T")


def by_position(rows: Sequence[T], asked: PageRequest) -> tuple[Sequence[T], str | None]:
    """A part of rows that are only ever appended to, and where the next one begins.

    Raises:
        UsageError: ``after`` is nothing that was given as ``next``.
    """
    text = asked.after or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise UsageError(f"after: expected `next` of the page before, got {text[:60]!r}")
    start = int(text)
    end = start + asked.limit
    return rows[start:end], str(end) if end < len(rows) else None


def by_name(rows: Sequence[T], asked: PageRequest, name: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """A part of rows that ascend by name, and the name after which the next one begins."""
    left = [row for row in rows if asked.after is None or name(row) > asked.after]
    part = left[: asked.limit]
    return part, name(part[-1]) if len(left) > len(part) else None
