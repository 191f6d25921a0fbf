"""What databases say when they can't, as one line that says what to do."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from foresift.core.errors import StoreError

_NEEDED_BYTES = 64 << 10
"""Less room than SQLite takes for its log: an input or output error then means a full disk."""
_PRIMARY = 0xFF
"""SQLite's extended error codes hold the primary one in their last byte."""
_SERVER = {
    "53100": "the disk of {where} is full; free some space and run the same command again: nothing done is lost",
    "28P01": "{where} refuses the user or the password; check FORESIFT_DATABASE_URL",
    "28000": "{where} refuses the user or the password; check FORESIFT_DATABASE_URL",
    "3D000": "{where} does not exist; create it (createdb NAME) or check FORESIFT_DATABASE_URL",
    "42501": "the user of {where} may not do this; grant it all rights on the database",
}
"""PostgreSQL's codes."""
_AT_THE_DOOR = {
    "28000": re.compile(r"FATAL:.*(role .* does not exist|password authentication|pg_hba\.conf)"),
    "3D000": re.compile(r"FATAL:.*database .* does not exist"),
}
"""What a server says to those whom it does not let in; the library keeps the words, but not the codes."""


class WentAwayError(Exception):
    """The connection broke before anything was committed: the work may be done again."""


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turn errors of the database into :class:`StoreError`.

    Raises:
        StoreError: one line, with what to do.
    """
    try:
        yield
    except WentAwayError as error:
        raise StoreError(explain(error.__cause__ or error, url)) from error
    except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
        raise StoreError(explain(error, url)) from error


def explain(error: BaseException, url: URL) -> str:
    """One line for what a database said."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(str(cause).split())[:200]
    if isinstance(cause, sqlite3.Error):
        return _explain_file(cause, Path(url.database or ""), said)
    where = f"the database {url.render_as_string(hide_password=True)}"
    code = _code(cause)
    if code in _SERVER:
        return _SERVER[code].format(where=where)
    if is_away(error):
        return f"{where} can't be reached ({said}); start it and run the same command again: nothing stored is lost"
    return f"{where}: {said}"


def is_away(error: BaseException) -> bool:
    """Whether a server can't be reached or broke off, so that trying again may help."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    code = _code(error.orig)
    # 08: connection lost; 57P: shutting down, starting up; no code: nobody answers.
    return error.connection_invalidated or not code or code.startswith(("08", "57P"))


def _code(error: BaseException | None) -> str:
    """PostgreSQL's code of an error; "" where nobody answered."""
    said = str(error)
    return getattr(error, "sqlstate", None) or next((c for c, words in _AT_THE_DOOR.items() if words.search(said)), "")


def _explain_file(error: sqlite3.Error, path: Path, said: str) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
        return f"no space left on the disk of {path}; free some and run the same command again: nothing done is lost"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another process has kept {path} to itself for too long; wait for it or end it, and run again"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"{path} is damaged ({said}); put it aside and bring back a backup: foresift restore FILE"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path} can't be opened or written ({said}); check its rights, or give another --home"
    return f"{path}: {said}"


def _is_full(folder: Path) -> bool:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _NEEDED_BYTES
