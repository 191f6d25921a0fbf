"""The time as records hold it: for people to read, never to decide who may do what."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Now as ISO 8601 in UTC with milliseconds: ``2026-11-21T14:02:03.004Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
