"""The right to work on a run: held while the worker lives, taken over when it is dead."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

from foresift.core.digests import digest_bytes
from foresift.core.errors import StaleError, StoreError
from foresift.core.jobs import Lease
from foresift.core.records import Leases

TTL_S = 30.0
"""A worker that was not heard of for so long is taken to be dead, wherever it ran."""
_BEATS = 3
"""Renewals in that time."""


class TakenError(StoreError):
    """Another worker, alive as far as anyone can tell, has it."""


class Held:
    """A key held by this process while the context lasts; a thread keeps the lease alive.

    Raises:
        TakenError: another worker has it.
    """

    def __init__(self, records: Leases, key: str, *, ttl_s: float = TTL_S) -> None:
        self._records, self._key, self._ttl_s = records, key, ttl_s
        self._lease: Lease | None = None
        self._over = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Held:
        """Take it, from a dead worker of this machine at once, from another when its lease runs out."""
        me = worker_name()
        self._lease = self._records.acquire(self._key, me, ttl_s=self._ttl_s)
        if self._lease is None and _release_dead(self._records, self._key):
            self._lease = self._records.acquire(self._key, me, ttl_s=self._ttl_s)
        if self._lease is None:
            raise TakenError(_taken(self._records.holder(self._key), self._ttl_s))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give it back."""
        self._over.set()
        self._thread.join()
        if self._lease is not None and not self._lost:
            try:
                self._records.release(self._lease)
            except StoreError:  # it runs out by itself; what is in flight matters more
                return

    @property
    def lost(self) -> bool:
        """Whether somebody else may have it by now: stop working."""
        return self._lost

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._over.wait(self._ttl_s / _BEATS):
            assert self._lease is not None  # noqa: S101 - held
            try:
                self._lease = self._records.renew(self._lease, ttl_s=self._ttl_s)
                renewed = time.monotonic()
            except StaleError:
                self._lost = True
                return
            except StoreError:  # the database may come back
                if time.monotonic() - renewed > self._ttl_s:
                    self._lost = True
                    return


def worker_name() -> str:
    """This process, and nothing else now or later: host, machine and namespace, process id, when it started."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{_machine()}:{pid}:{_started(pid)}"


def is_dead(holder: str) -> bool:
    """Whether a worker is known to be gone: of this machine and start, and no such process runs."""
    _, _, rest = holder.partition(":")
    machine, _, process = rest.partition(":")
    pid, _, started = process.partition(":")
    if not machine or machine != _machine() or not pid.isdecimal():
        return False
    return _started(int(pid)) != started


def _release_dead(records: Leases, key: str) -> bool:
    """Whether the lease of a dead worker was given back in its name."""
    holder = records.holder(key)
    if holder is None:
        return True
    if not is_dead(holder):
        return False
    lease = records.acquire(key, holder, ttl_s=1.0)
    if lease is not None:
        records.release(lease)
    return True


def _taken(holder: str | None, ttl_s: float) -> str:
    host, *_, pid, _ = (holder or "another worker:::").split(":")
    who = f"process {pid} on {host}" if pid else host
    return (
        f"{who} is working on it; foresift runs show follows it, foresift runs cancel stops it "
        f"(if it is dead, it can be taken over in {ttl_s:.0f} s)"
    )


def _machine() -> str:
    """This boot of this machine and this space of process ids; "" where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return digest_bytes(f"{boot}{Path('/proc/self/ns/pid').readlink()}".encode())[:8]
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; "" if there is none, or it is only waiting to be buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
