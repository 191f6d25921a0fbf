"""When a record may be added or changed: the same rules in every back end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foresift.core.errors import StaleError, UnknownRecordError, UsageError

Found = Mapping[str, Any]
"""A stored row."""
RUN_SAME = ("config", "pool")
"""What tells a run from another one of the same id."""
RUN_FIXED = ("config", "pool", "pool_version", "created_at", "by")
JOB_SAME = ("kind", "request")
JOB_FIXED = ("kind", "request", "at")


def check_new(row: Mapping[str, Any], what: str) -> None:
    """Raise :class:`UsageError` unless a record that is to be added has version 0."""
    if row["version"] != 0:
        raise UsageError(f"a new {what} has version 0, got {row['version']!r}")


def check_same(stored: Found, row: Mapping[str, Any], *, same: Sequence[str], what: str) -> Found:
    """The stored row, if the given one says the same in these columns.

    Raises:
        StaleError: it does not.
    """
    if any(stored[name] != row[name] for name in same):
        raise StaleError(f"another {what} is stored already, with other values; nothing was stored")
    return stored


def check_version(stored: Found, row: Mapping[str, Any], *, what: str) -> Found:
    """The stored row, if it has the version that the given one names.

    Raises:
        StaleError: it has another.
    """
    if stored["version"] != row["version"]:
        raise StaleError(
            f"{what} was changed by somebody else meanwhile (version {stored['version']}, "
            f"this change was made of version {row['version']}); nothing was stored"
        )
    return stored


def check_follows(row: Mapping[str, Any], last: int) -> None:
    """Raise :class:`StaleError` unless a round has the number after the last one."""
    if row["number"] != last + 1:
        raise StaleError(f"run {row['run']} has {last} rounds, so that round {row['number']} is not the next one")


def unknown(what: str) -> UnknownRecordError:
    """That a record is not there."""
    return UnknownRecordError(f"no {what} in this workspace")
