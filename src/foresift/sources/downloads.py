"""Remote objects of a listing: downloaded side by side, handed on in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

from foresift.core.protocols import Arrivals, Brought, DigestMemory, Progress, Silent, Wanted
from foresift.core.samples import Quarantined
from foresift.sources.read import Stamp, UnreadableError

HELD_BYTES = 1 << 20
"""Larger objects are not handed on but looked for in the spool, so that those under way fit the memory."""
_REMEMBER_EVERY = 256
Add: TypeAlias = Callable[[str, str, bytes | None], None]


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
    rest = [_Asked(one, before) for one, before in zip(ordered, recalled, strict=True)]
    keeper = _Keeper(memory)
    try:
        while rest:
            own = len(rest) if seen is None else seen.own(len(rest))
            if seen is not None and not own:
                yield from _by_others(rest, keeper, progress, seen)
                return
            part, rest = rest[:own], rest[own:]
            yield from _by_threads(part, keeper, progress, None if seen is None else seen.add)
    finally:
        keeper.flush()


class _Asked(NamedTuple):
    """A row of a listing, and what is remembered of its name."""

    one: Download
    before: tuple[Stamp, str] | None


def _by_threads(
    asked: Sequence[_Asked], keeper: _Keeper, progress: Progress, add: Add | None
) -> Iterator[tuple[int, str | Quarantined]]:
    """Rows that this process downloads."""
    from foresift.sources.remote import remote

    threads = remote().limits.at_once
    pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
    window: deque[tuple[Download, Future[_Got]]] = deque()
    try:
        for one, before in asked:
            window.append((one, pool.submit(_got, one, before)))
            if len(window) >= 2 * threads:
                yield _handed_on(*window.popleft(), keeper, progress, add)
        while window:
            yield _handed_on(*window.popleft(), keeper, progress, add)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _by_others(
    asked: Sequence[_Asked], keeper: _Keeper, progress: Progress, seen: Arrivals
) -> Iterator[tuple[int, str | Quarantined]]:
    """Rows that others have downloaded and looked at."""
    from foresift.sources.remote import remote

    brought = seen.brought([Wanted(one.name, one.digest, before) for one, before in asked])
    for (one, _), got in zip(asked, brought, strict=True):
        progress.advance(1)
        if not got.digest:
            yield one.row, Quarantined(uri=one.name, reason=got.reason)
            continue
        remote().know(one.name, got.digest)
        if got.stamp is not None:
            keeper.keep(one.name, got.stamp, got.digest)
        yield one.row, got.digest


def bring(wanted: Sequence[Wanted], add: Add) -> list[Brought]:
    """What becomes of objects in ascending order of name, in a process that others have asked to bring them.

    Args:
        add: told of address, digest and bytes of each that came; None for bytes that are to be fetched.
    Raises:
        UnreachableError: a host gives nothing at all.
    """
    from foresift.sources.digest_memory import DictDigestMemory
    from foresift.sources.remote import remote

    remote().hopeful()
    memory = DictDigestMemory()
    keeper = _Keeper(memory)
    asked = [_Asked(Download(row, one.name, one.digest), one.before) for row, one in enumerate(wanted)]
    found = list(_by_threads(asked, keeper, Silent(), add))
    keeper.flush()
    stamped = memory.recall([one.name for one in wanted])
    return [
        Brought(None, "", said.reason) if isinstance(said, Quarantined) else Brought(stamp and stamp[0], said)
        for (_, said), stamp in zip(found, stamped, strict=True)
    ]


def _handed_on(
    one: Download, future: Future[_Got], keeper: _Keeper, progress: Progress, add: Add | None
) -> tuple[int, str | Quarantined]:
    got = future.result()
    progress.advance(1)
    if isinstance(got.digest, str):
        if got.stamp is not None:
            keeper.keep(one.name, got.stamp, got.digest)
        if add is not None:
            add(one.name, got.digest, got.data)
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
