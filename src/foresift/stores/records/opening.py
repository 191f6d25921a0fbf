"""The records of a workspace: a file in its folder, or the database that an address names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from foresift.core.errors import MissingExtraError
from foresift.core.records import Records
from foresift.stores.files import disk_errors

if TYPE_CHECKING:
    from foresift.stores.records.database import Database

FILE = "foresift.sqlite"
"""Name of the file in the workspace's folder."""
_HELD: WeakValueDictionary[tuple[Path, str, int], Records] = WeakValueDictionary()
_ONE_AT_A_TIME = threading.Lock()


def open_records(home: Path, url: str = "") -> Records:
    """Records of the workspace at ``home``, their tables made or brought to the newest schema.

    Args:
        url: of a PostgreSQL database; "" = the file in ``home``, which belongs to one machine.
    Raises:
        UsageError: the address is not one of a PostgreSQL database.
        StoreError: it can't be opened, or was written by a newer Foresift.
        MissingExtraError: a library is missing.
    """
    with _needed():
        from foresift.stores.records.sql import SqlRecords
    return SqlRecords(_open(home, url))


def held_records(home: Path, url: str = "") -> Records:
    """The records of a workspace as this process has them open already, else :func:`open_records`.

    All who ask share connections, which are closed when the last of them is gone. A file that was put in the place of
    the old one is another one.
    """
    with _ONE_AT_A_TIME:
        held = _HELD.get((home, url, _inode(home, url)))
        if held is None:
            held = open_records(home, url)
            _HELD[home, url, _inode(home, url)] = held
        return held


def _inode(home: Path, url: str) -> int:
    """Which file it is; 0 where it is a server's matter, or there is none yet."""
    try:
        return 0 if url else (home / FILE).stat().st_ino
    except OSError:
        return 0


def copy_records(home: Path, url: str, target: Path) -> dict[str, int]:
    """Write all records, as they are at one moment, to a SQLite file; returns how many there are by kind.

    Raises:
        StoreError: they can't be read, or the file not be written; and as :func:`open_records`.
    """
    with closing(_open(home, url)) as database:
        from foresift.stores.records.copies import write_copy

        return write_copy(database, target)


def check_empty(home: Path, url: str) -> None:
    """Refuse a workspace that holds records, before anything is put beside them.

    Raises:
        UsageError: there are records.
        StoreError: as :func:`open_records`.
    """
    with closing(_open(home, url)) as database:
        from foresift.stores.records.copies import refuse_filled

        database.read(refuse_filled)


def restore_records(home: Path, url: str, source: Path) -> dict[str, int]:
    """Bring the records of such a file, which may be changed, into an empty workspace: all or none.

    Raises:
        UsageError: there are records already.
        StoreError: the file is damaged or of a newer Foresift; and as :func:`open_records`.
    """
    with closing(_open(home, url)) as database:
        from foresift.stores.records.copies import read_copy

        return read_copy(source, database)


def _open(home: Path, url: str) -> Database:
    with _needed():
        from foresift.stores.records.database import Database, address_of, file_address
        from foresift.stores.records.migrating import upgrade
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    database = Database(address_of(url) if url else file_address(home / FILE))
    try:
        upgrade(database)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError("keeping runs and labels", "runs") from error
