"""The records of a workspace: a file in its folder, or the database that an address names."""

from __future__ import annotations

from pathlib import Path

from foresift.core.errors import MissingExtraError
from foresift.core.records import Records
from foresift.stores.files import disk_errors

FILE = "foresift.sqlite"
"""Name of the file in the workspace's folder."""


def open_records(home: Path, url: str = "") -> Records:
    """Records of the workspace at ``home``, their tables made or brought to the newest schema.

    Args:
        url: of a PostgreSQL database; "" = the file in ``home``, which belongs to one machine.
    Raises:
        UsageError: the address is not one of a PostgreSQL database.
        StoreError: it can't be opened, or was written by a newer Foresift.
        MissingExtraError: a library is missing.
    """
    try:
        from foresift.stores.records.database import Database, address_of, file_address
        from foresift.stores.records.migrating import upgrade
        from foresift.stores.records.sql import SqlRecords
    except ModuleNotFoundError as error:
        raise MissingExtraError("keeping runs and labels", "runs") from error
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    database = Database(address_of(url) if url else file_address(home / FILE))
    upgrade(database)
    return SqlRecords(database)
