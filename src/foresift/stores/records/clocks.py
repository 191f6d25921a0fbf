"""Clocks that only go forward and that every process of a machine shares; nobody can set them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from foresift.core.errors import StaleError, UsageError
from foresift.core.jobs import Lease
from foresift.stores.records.rows import Row

_ROUNDING_S = 1e-3


class Now(NamedTuple):
    """A reading of a clock."""

    clock: str
    """Which clock; readings of different ones can't be compared."""
    seconds: float


def machine_clock() -> Now:
    """Seconds since this machine was started; its name changes with every start."""
    return Now(_boot(), time.monotonic())


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "machine"


def taken(stored: Mapping[str, Any] | None, key: str, holder: str, *, now: Now, ttl_s: float) -> Row | None:
    """The row of a lease that a holder takes now; None if another holds it.

    A lease is over at its end, when its clock is gone, and when its end lies further ahead than it ever could:
    then the clock has begun anew.
    """
    check_lease(holder, ttl_s)
    if stored is not None and stored["holder"] not in ("", holder) and is_held(stored, now):
        return None
    last = 0 if stored is None else stored["token"]
    token = last if stored is not None and stored["holder"] == holder else last + 1
    return {"key": key, "holder": holder, "token": token, **_end(now, ttl_s)}


def renewed(stored: Mapping[str, Any] | None, lease: Lease, *, now: Now, ttl_s: float) -> Row:
    """The row of a lease that goes on.

    Raises:
        StaleError: somebody else has taken the key since, or it was given back.
    """
    check_lease(lease.holder, ttl_s)
    if stored is None or not owns(stored, lease):
        raise StaleError(f"{lease.key} was taken over from {lease.holder}, whose lease ran out; stop working on it")
    return {"key": lease.key, "holder": lease.holder, "token": lease.token, **_end(now, ttl_s)}


def owns(stored: Mapping[str, Any], lease: Lease) -> bool:
    """Whether nobody has taken the key since."""
    return bool(stored["holder"] == lease.holder and stored["token"] == lease.token)


def is_held(stored: Mapping[str, Any], now: Now) -> bool:
    """Whether a lease goes on."""
    left = stored["until"] - now.seconds
    return bool(stored["holder"] and stored["clock"] == now.clock and 0 < left <= stored["ttl"] + _ROUNDING_S)


def lease_of(row: Mapping[str, Any]) -> Lease:
    """The lease of a row."""
    return Lease(key=row["key"], holder=row["holder"], until=row["until"], token=row["token"])


def check_lease(holder: str, ttl_s: float) -> None:
    """Raise :class:`UsageError` for a holder without a name or a time that is not above 0."""
    if not holder or not ttl_s > 0:
        raise UsageError(f"a lease needs a holder and a time above 0 s, got {holder!r} and {ttl_s!r}")


def _end(now: Now, ttl_s: float) -> Row:
    return {"clock": now.clock, "until": now.seconds + ttl_s, "ttl": ttl_s}
