"""Brings a database to the newest schema, and refuses those that are newer."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, Inspector, inspect, text

from foresift.core.errors import StoreError
from foresift.stores.files import locked
from foresift.stores.records.database import Database, alone
from foresift.stores.records.faults import explained
from foresift.stores.records.schema import HEAD, VERSION_TABLE

_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps what it works on in module globals."""


def upgrade(database: Database) -> None:
    """Make the tables, or change them to the newest schema; all of it or nothing. Quick if there is nothing to do.

    Raises:
        StoreError: the database was written by a newer Foresift, or can't be written.
    """
    revision = database.read(schema_of)
    if revision == HEAD:
        return
    if revision is not None and revision > HEAD:
        raise StoreError(
            f"the workspace was written by a newer Foresift (schema {revision}, this one knows {HEAD}); "
            "install that version (pip install --upgrade foresift) or give another --home"
        )
    if database.is_file:
        _upgrade_file(database)
    else:
        database.write(_upgrade)


def schema_of(connection: Connection) -> str | None:
    """Revision of a database's schema; None for an empty one."""
    found: Inspector = inspect(connection)
    if not found.has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608


def _upgrade_file(database: Database) -> None:
    path = Path(database.url.database or "")
    with locked(path.with_suffix(".lock")), explained(database.url):
        # The log beside the file lets others read while one writes; the file remembers it.
        database.outside_transactions("PRAGMA journal_mode=WAL")
        database.write(_upgrade)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    alone(connection, "schema")
    if schema_of(connection) == HEAD:  # somebody else was first
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")
