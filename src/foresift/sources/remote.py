"""Bytes behind a network: tried again, a few at a time, kept once they are here.

What a pool lies on is out of our hands: servers are slow, answer 503, cut connections and lose their tail. One object
that can't be had is one sample in quarantine; a host that gives nothing at all is one error.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, UnreachableError, UsageError
from foresift.sources.addresses import BUCKETS, host_of, is_signed, link, public, scheme_of
from foresift.sources.buckets import Buckets
from foresift.sources.fence import Fence
from foresift.sources.read import MAX_BYTES, FileBytes, Stamp, UnreadableError
from foresift.sources.spool import ROOM_BYTES, Spool
from foresift.sources.web import Check, LostError, Patience, RefusedError, Web

T = TypeVar("T")
_WORTH_TRYING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
_MEANINGS = {401: "the server wants to know who asks", 403: "forbidden", 404: "no such object", 410: "it is gone"}
AGAIN_AFTER_S = 30.0
"""After this time, a host that was down is asked again."""
DOWN_AFTER = 8
"""Objects of one host that failed in a row, each after all tries: it is down, and no fault of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard servers are asked; each from an environment variable."""

    at_once: int = 64
    """Objects under way."""
    per_host: int = 32
    tries: int = 4
    pause_s: float = 0.25
    """Before the second try; doubled before each further one."""
    timeout_s: float = 30.0
    """Of silence."""
    spool_bytes: int = ROOM_BYTES

    @classmethod
    def from_environment(cls) -> Limits:
        """``FORESIFT_DOWNLOADS``, ``..._PER_HOST``, ``..._TRIES``, ``..._TIMEOUT_S`` and ``FORESIFT_SPOOL_MIB``.

        Raises:
            UsageError: one of them is no positive number.
        """
        usual = cls()
        return cls(
            at_once=max(1, int(_setting("FORESIFT_DOWNLOADS", usual.at_once))),
            per_host=max(1, int(_setting("FORESIFT_DOWNLOADS_PER_HOST", usual.per_host))),
            tries=max(1, int(_setting("FORESIFT_DOWNLOAD_TRIES", usual.tries))),
            timeout_s=_setting("FORESIFT_DOWNLOAD_TIMEOUT_S", usual.timeout_s),
            spool_bytes=int(_setting("FORESIFT_SPOOL_MIB", usual.spool_bytes / 2**20) * 2**20),
        )


@dataclass(slots=True)
class _Host:
    """What is known of a host."""

    room: threading.BoundedSemaphore
    failed: int = 0
    """Objects in a row that could not be had for its own sake."""
    failed_s: float = 0.0
    """When the last of them was given up, by the monotonic clock."""
    reason: str = ""

    @property
    def down(self) -> bool:
        """Whether there is no point in asking now."""
        return self.failed >= DOWN_AFTER and time.monotonic() - self.failed_s < AGAIN_AFTER_S


@dataclass(slots=True)
class Remote:
    """Everything that is fetched over a network by one process; any thread may call."""

    limits: Limits = field(default_factory=Limits.from_environment)
    spool: Spool | None = None
    _web: Web = field(init=False)
    _buckets: Buckets = field(init=False)
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    """Of names whose bytes may lie in the spool."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        connect_s = min(10.0, self.limits.timeout_s)
        self._web = Web(Patience(connect_s=connect_s, silence_s=self.limits.timeout_s))
        self._buckets = Buckets(timeout_s=self.limits.timeout_s)
        if (fence := Fence.inherited()) is not None:
            self._web.checks.append(fence)

    @contextmanager
    def checking(self, check: Check) -> Iterator[None]:
        """Ask ``check`` before every connection from now on, beside others that are asked already."""
        self._web.checks.append(check)
        self._web.close()  # connections that nobody checked
        try:
            yield
        finally:
            self._web.checks.remove(check)

    def close(self) -> None:
        """Let go of connections that are kept; the next request makes new ones."""
        self._web.close()

    def keep_in(self, folder: Path) -> None:
        """Keep what comes in a folder."""
        self.spool = Spool(folder, room_bytes=self.limits.spool_bytes)

    def know(self, name: str, digest: str) -> None:
        """Remember what the bytes of a name are, so that the spool is asked first."""
        self._digests[name] = digest

    def fetch(self, uri: str, *, limit_bytes: int = MAX_BYTES) -> bytes:
        """The bytes of an object: from the spool if it has them, else over the network.

        Raises:
            DataError: one line with the address and the reason.
        """
        name = public(uri)
        digest = self._digests.get(name)
        kept = self.spool.get(digest) if self.spool is not None and digest is not None else None
        return self.read(name, limit_bytes=limit_bytes).data if kept is None else kept

    def read(self, name: str, *, limit_bytes: int = MAX_BYTES) -> FileBytes:
        """Bytes and stamp of an object, over the network.

        Raises:
            UnreadableError: the one reason why there are none.
            UnreachableError: its host gives nothing at all.
        """
        url = link(name)
        door = self._buckets if scheme_of(url) in BUCKETS else self._web
        got = self._tried(name, lambda: door.get(url, limit_bytes=limit_bytes))
        if self.spool is not None:
            digest = digest_bytes(got.data)
            self.spool.put(digest, got.data)
            self.know(name, digest)
        return got

    def look(self, name: str) -> Stamp | None:
        """The stamp of an object without its bytes, or None where the server tells none."""
        url = link(name)
        try:
            if scheme_of(url) in BUCKETS:
                return self._tried(name, lambda: self._buckets.head(url))
            return self._tried(name, lambda: self._web.first_byte(url) if is_signed(name) else self._web.head(url))
        except UnreadableError:  # many servers know GET alone, and that one will tell the reason
            return None

    def under(self, prefix: str) -> Iterator[tuple[str, Stamp]]:
        """Every object whose address begins with a bucket's prefix, ascending; raises as :meth:`read`."""
        return iter(self._tried(prefix, lambda: self._buckets.under(prefix)))

    def _tried(self, name: str, attempt: Callable[[], T]) -> T:
        at = host_of(name)
        host = self._host(at)
        reason = ""
        for number in range(1, self.limits.tries + 1):
            if host.down:
                raise self._down(host, at)
            try:
                with host.room:
                    got = attempt()
            except RefusedError as error:
                if error.status not in _WORTH_TRYING:
                    host.failed = 0
                    raise UnreadableError(name, _refusal(error)) from None
                reason, wait_s = str(error), error.wait_s
            except LostError as error:
                reason, wait_s = str(error), 0.0
            except UnreadableError:
                raise
            except DataError as error:
                raise UnreadableError(name, str(error)) from None
            else:
                host.failed = 0
                return got
            if number < self.limits.tries:
                # Random, so that many waiting threads do not come back all at once.
                time.sleep(max(wait_s, self.limits.pause_s * 2 ** (number - 1) * random.uniform(0.5, 1.5)))
        self._failed(host, at, reason)
        raise UnreadableError(name, f"{reason}, {self.limits.tries} times")

    def _failed(self, host: _Host, at: str, reason: str) -> None:
        with self._guard:
            host.failed, host.failed_s, host.reason = host.failed + 1, time.monotonic(), reason
        if host.failed >= DOWN_AFTER:
            raise self._down(host, at)

    def _down(self, host: _Host, at: str) -> UnreachableError:
        return UnreachableError(
            f"{at} is down: {host.reason}, for {DOWN_AFTER} objects in a row, each tried {self.limits.tries} times;"
            " run again when it is back, nothing done is lost"
        )

    def _host(self, at: str) -> _Host:
        with self._guard:
            return self._hosts.setdefault(at, _Host(threading.BoundedSemaphore(self.limits.per_host)))

    def hopeful(self) -> None:
        """Give every host another chance."""
        with self._guard:
            for host in self._hosts.values():
                host.failed = 0


def _refusal(error: RefusedError) -> str:
    meaning = _MEANINGS.get(error.status)
    return str(error) if meaning is None else f"{meaning} (HTTP {error.status})"


def _setting(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else float(default)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{variable}={text}: expected a positive number")
    return value


_made: list[Remote] = []
_making = threading.Lock()


def remote() -> Remote:
    """The one of this process: limits and checks hold for whoever asks in it."""
    with _making:
        if not _made:
            _made.append(Remote())
        return _made[0]
