"""All records as one SQLite file, whatever database they are in, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, text

from foresift.core.errors import UsageError
from foresift.stores.records.database import Database, file_address
from foresift.stores.records.faults import explained
from foresift.stores.records.migrating import upgrade
from foresift.stores.records.rows import Row
from foresift.stores.records.schema import METADATA, leases

_BATCH = 10_000
_TABLES = [table for table in METADATA.sorted_tables if table is not leases]
"""Who works on what just now ends with the process, so leases are never brought back."""


def write_copy(database: Database, target: Path) -> dict[str, int]:
    """Write all records as they are at one moment, while others go on writing; returns the rows of each table.

    Raises:
        StoreError: the database can't be read, or the file not be written.
    """
    copy = Database(file_address(target))
    with closing(copy), explained(copy.url):
        if database.is_file:
            _copy_pages(Path(database.url.database or ""), target)
        else:
            upgrade(copy)
            database.snapshot(lambda source: copy.write(lambda connection: _copy_rows(source, connection)))
        copy.outside_transactions("PRAGMA journal_mode=DELETE")  # all of it in the one file
        return copy.read(_counts)


def read_copy(source: Path, database: Database) -> dict[str, int]:
    """Bring the records of a copy, of this schema or an older one, into an empty database: all or none.

    Args:
        source: a copy that may be changed.
    Raises:
        UsageError: the database holds records already.
        StoreError: the copy is damaged or of a newer schema, or the database can't be written.
    """
    copy = Database(file_address(source))
    with closing(copy):
        upgrade(copy)
        return copy.read(lambda origin: database.write(lambda target: _fill(origin, target)))


def refuse_filled(target: Connection) -> None:
    """Raise :class:`UsageError` if a database holds any records."""
    filled = {name: rows for name, rows in _counts(target).items() if rows}
    if filled:
        found = ", ".join(f"{rows} {name}" for name, rows in filled.items())
        raise UsageError(
            f"the workspace holds records already ({found}); restore into an empty one, given with --home "
            "or FORESIFT_DATABASE_URL"
        )


def _fill(source: Connection, target: Connection) -> dict[str, int]:
    refuse_filled(target)
    _copy_rows(source, target)
    return _counts(target)


def _copy_pages(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source, timeout=60)) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)


def _copy_rows(source: Connection, target: Connection) -> None:
    for table in _TABLES:
        for batch in _batches(source, table):
            target.execute(insert(table), batch)
        _go_on_counting(target, table)


def _batches(source: Connection, table: Table) -> Iterator[list[Row]]:
    found = source.execution_options(yield_per=_BATCH).execute(select(table).order_by(*table.primary_key))
    for part in found.partitions():
        yield [row._asdict() for row in part]


def _go_on_counting(target: Connection, table: Table) -> None:
    """Let PostgreSQL's counters go on after the numbers that were copied; SQLite looks for itself."""
    column = table.autoincrement_column
    if target.dialect.name == "postgresql" and column is not None:
        statement = "SELECT setval(pg_get_serial_sequence(:table, :column), :last)"
        last = target.execute(select(func.max(column))).scalar()
        if last is not None:
            target.execute(text(statement), {"table": table.name, "column": column.name, "last": last})


def _counts(connection: Connection) -> dict[str, int]:
    return {t.name: connection.execute(select(func.count()).select_from(t)).scalar_one() for t in _TABLES}
