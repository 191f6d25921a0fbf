"""Content digests remembered between looks, so that a second look reads no image."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from foresift.core.errors import StoreError
from foresift.sources.read import Stamp

T = TypeVar("T")
_TABLE = """
CREATE TABLE IF NOT EXISTS digests (
    uri TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID
"""
_BLOCK = 20_000
"""Addresses in one statement; SQLite takes 32,766."""
_WAIT_S = 60.0
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NEEDED_BYTES = 64 << 10
"""Less room than SQLite takes for its log and index: an input or output error then means a full disk."""


class DictDigestMemory:
    """A memory that lasts as long as the process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}

    def lookup(self, uris: Sequence[str], stamps: Sequence[Stamp]) -> list[str | None]:
        """Digest of each uri whose stamp is unchanged, else None."""
        return _unchanged(self._known, uris, stamps)

    def recall(self, uris: Sequence[str]) -> list[tuple[Stamp, str] | None]:
        """Stamp and digest that each uri had when it was read last, or None."""
        return [self._known.get(uri) for uri in uris]

    def remember(self, uris: Sequence[str], stamps: Sequence[Stamp], digests: Sequence[str]) -> None:
        """Keep what was computed."""
        for uri, stamp, digest in zip(uris, stamps, digests, strict=True):
            self._known[uri] = (stamp, digest)

    def forget(self, uris: Sequence[str]) -> None:
        """Drop what is known of each uri."""
        for uri in uris:
            self._known.pop(uri, None)


class SqliteDigestMemory:
    """A memory in one SQLite file, shared by any number of threads and processes.

    The file is a cache: it may be deleted at any time, and one that is damaged is put
    aside as ``NAME.damaged-PID`` and begun anew. Each call opens its own connection.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def lookup(self, uris: Sequence[str], stamps: Sequence[Stamp]) -> list[str | None]:
        """Digest of each uri whose stamp is unchanged, else None; a few seconds for a million.

        Raises:
            StoreError: the file can't be opened or created.
        """
        known = self._with_connection(lambda connection: _select(connection, uris))
        return _unchanged(known, uris, stamps)

    def recall(self, uris: Sequence[str]) -> list[tuple[Stamp, str] | None]:
        """Stamp and digest that each uri had when it was read last, or None; raises as :meth:`lookup`."""
        known = self._with_connection(lambda connection: _select(connection, uris))
        return [known.get(uri) for uri in uris]

    def remember(self, uris: Sequence[str], stamps: Sequence[Stamp], digests: Sequence[str]) -> None:
        """Keep what was computed; all of it or, if interrupted, nothing.

        Raises:
            StoreError: the file can't be written.
        """
        rows = [(uri, size, mtime, digest) for uri, (size, mtime), digest in zip(uris, stamps, digests, strict=True)]
        self._with_connection(lambda connection: _insert(connection, rows))

    def forget(self, uris: Sequence[str]) -> None:
        """Drop what is known of each uri; of all of them or, if interrupted, of none.

        Raises:
            StoreError: the file can't be written.
        """
        self._with_connection(lambda connection: _delete(connection, uris))

    def _with_connection(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._attempt(work)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise StoreError(self._explain(error)) from None
        self._put_aside()
        return self._attempt(work)

    def _explain(self, error: sqlite3.DatabaseError) -> str:
        if _is_full(error, self._path.parent):
            return (
                f"no space left on the disk of {self._path}; free some and run the same command again: "
                "nothing done is lost"
            )
        return f"{self._path}: {error}; delete the file, it is only a cache"

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self._path}: can't create its folder ({error.strerror})") from None
        with closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as connection:
            with self._alone():
                _prepare(connection)
            return work(connection)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time: SQLite does not wait for others when it begins a write-ahead log."""
        try:
            file = self._path.with_name(f"{self._path.name}.lock").open("wb")
        except OSError as error:
            raise StoreError(f"{self._path}: can't be locked ({error.strerror})") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _put_aside(self) -> None:
        for tail in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + tail)
            with suppress(FileNotFoundError):  # another process may be putting it aside as well
                file.replace(f"{self._path}.damaged-{os.getpid()}{tail}")


def _prepare(connection: sqlite3.Connection) -> None:
    """Write-ahead log and table; both only where missing, as changing them needs the file alone."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'digests'").fetchone():
        connection.execute(_TABLE)


def _select(connection: sqlite3.Connection, uris: Sequence[str]) -> dict[str, tuple[Stamp, str]]:
    known: dict[str, tuple[Stamp, str]] = {}
    for block in _blocks(uris):
        marks = ",".join("?" * len(block))
        rows = connection.execute(
            f"SELECT uri, size_bytes, mtime_ns, digest FROM digests WHERE uri IN ({marks})",  # noqa: S608
            block,
        )
        for uri, size, mtime, digest in rows:
            known[uri] = ((size, mtime), digest)
    return known


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[str, int, int, str]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)
    connection.execute("COMMIT")


def _delete(connection: sqlite3.Connection, uris: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM digests WHERE uri = ?", [(str(uri),) for uri in uris])
    connection.execute("COMMIT")


def _unchanged(known: dict[str, tuple[Stamp, str]], uris: Sequence[str], stamps: Sequence[Stamp]) -> list[str | None]:
    answers: list[str | None] = []
    for uri, stamp in zip(uris, stamps, strict=True):
        row = known.get(uri)
        answers.append(row[1] if row is not None and row[0] == stamp else None)
    return answers


def _blocks(uris: Sequence[str]) -> Iterator[Sequence[str]]:
    return (uris[start : start + _BLOCK] for start in range(0, len(uris), _BLOCK))


def _is_full(error: sqlite3.DatabaseError, folder: Path) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _NEEDED_BYTES


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # The low byte is the primary code; the rest tells kinds of damage apart.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT
