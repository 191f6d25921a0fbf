"""Remote objects of a listing: downloaded side by side, handed on in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from foresift.core.protocols import Arrivals, DigestMemory, Progress
from foresift.core.samples import Quarantined
from foresift.sources.read import Stamp, UnreadableError

HELD_BYTES = 1 << 20
"""Larger objects are not handed on but looked for in the spool, so that those under way fit the memory."""
_REMEMBER_EVERY = 256


class Download(NamedTuple):
    """A row of a listing whose bytes lie elsewhere."""

    row: int
    name: str
    digest: str | None
    """Known already from the stamps of the listing."""


class _Got(NamedTuple):
    stamp: Stamp | None
    """None = nothing new to remember."""
    digest: str | Quarantined
    data: bytes | None = None


def downloaded(
    wanted: Sequence[Download], memory: DigestMemory, progress: Progress, seen: Arrivals | None
) -> Iterator[tuple[int, str | Quarantined]]:
    """Each row with its digest or why there is none, in ascending order of name; remembers on the way.

    An object that was seen before is asked for its stamp, and downloaded only if that changed. At most two
    objects for each thread are held, so that memory does not grow with the pool.

    Raises:
        UnreachableError: a host gives nothing at all.
    """
    from foresift.sources.remote import remote

    remote().hopeful()
    ordered = sorted(wanted, key=lambda one: (one.name, one.row))
    recalled = memory.recall([one.name for one in ordered])
    threads = remote().limits.at_once
    pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
    window: deque[tuple[Download, Future[_Got]]] = deque()
    keeper = _Keeper(memory)
    try:
        for one, before in zip(ordered, recalled, strict=True):
            window.append((one, pool.submit(_got, one, before)))
            if len(window) >= 2 * threads:
                yield _handed_on(*window.popleft(), keeper, progress, seen)
        while window:
            yield _handed_on(*window.popleft(), keeper, progress, seen)
    finally:
        keeper.flush()
        pool.shutdown(wait=True, cancel_futures=True)


def _handed_on(
    one: Download, future: Future[_Got], keeper: _Keeper, progress: Progress, seen: Arrivals | None
) -> tuple[int, str | Quarantined]:
    got = future.result()
    progress.advance(1)
    if isinstance(got.digest, str):
        if got.stamp is not None:
            keeper.keep(one.name, got.stamp, got.digest)
        if seen is not None:
            seen.add(one.name, got.digest, got.data)
    return one.row, got.digest


class _Keeper:
    """Writes to the memory now and then."""

    def __init__(self, memory: DigestMemory) -> None:
        self._memory = memory
        self._rows: list[tuple[str, Stamp, str]] = []

    def keep(self, name: str, stamp: Stamp, digest: str) -> None:
        if stamp[1]:  # a server that tells neither ETag nor time could change the bytes unseen
            self._rows.append((name, stamp, digest))
        if len(self._rows) >= _REMEMBER_EVERY:
            self.flush()

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._memory.remember([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


def _got(one: Download, before: tuple[Stamp, str] | None) -> _Got:
    from foresift.core.digests import digest_bytes
    from foresift.sources.remote import remote

    far = remote()
    if one.digest is not None:
        far.know(one.name, one.digest)
        return _Got(None, one.digest)
    if before is not None and far.look(one.name) == before[0]:
        far.know(one.name, before[1])
        return _Got(None, before[1])
    try:
        data, stamp = far.read(one.name)
    except UnreadableError as error:
        return _Got(None, Quarantined(uri=error.uri, reason=error.reason))
    return _Got(stamp, digest_bytes(data), data if len(data) <= HELD_BYTES else None)
