"""Records that are added once and changed under a version check, as rows of any table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, insert, select, update

from foresift.stores.records.fences import Found, check_new, check_same, check_version, unknown
from foresift.stores.records.rows import Row


def rows(connection: Connection, query: Select[Any]) -> Sequence[Found]:
    """What a query finds."""
    return [row._asdict() for row in connection.execute(query)]


def find(connection: Connection, table: Table, **key: Any) -> Found | None:
    """The row of a key."""
    found = rows(connection, select(table).where(_is(table, key)))
    return found[0] if found else None


def get(connection: Connection, table: Table, what: str, **key: Any) -> Found:
    """The row of a key.

    Raises:
        UnknownRecordError: there is none.
    """
    found = find(connection, table, **key)
    if found is None:
        raise unknown(what)
    return found


def add(connection: Connection, table: Table, row: Row, *, key: Sequence[str], same: Sequence[str], what: str) -> Found:
    """Insert a row, unless one of its key is there already; returns the stored one. The caller sees to being alone.

    Args:
        same: columns in which a row that is there must agree.
    Raises:
        StaleError: it does not.
    """
    names = {name: row[name] for name in key}
    stored = find(connection, table, **names)
    if stored is None:
        check_new(row, what)
        connection.execute(insert(table), [row])
        return get(connection, table, what, **names)
    return check_same(stored, row, same=same, what=what)


def change(
    connection: Connection, table: Table, row: Row, *, key: Sequence[str], fixed: Sequence[str], what: str
) -> Found:
    """Store a changed row if the stored one has still the version that it names; returns the stored one.

    Args:
        fixed: columns that never change.
    Raises:
        StaleError: another version is stored.
        UnknownRecordError: none is.
    """
    names = {name: row[name] for name in key}
    values = {name: value for name, value in row.items() if name not in (*key, *fixed)} | {
        "version": row["version"] + 1
    }
    where = and_(_is(table, names), table.c.version == row["version"])
    changed = connection.execute(update(table).where(where).values(values)).rowcount
    stored = get(connection, table, what, **names)
    return stored if changed else check_version(stored, row, what=what)


def page(
    connection: Connection,
    table: Table,
    *,
    where: Mapping[str, Any],
    limit: int | None,
    after: Found | None,
) -> Sequence[Found]:
    """Rows in the order of adding; conditions that are None don't count."""
    asked = {name: value for name, value in where.items() if value is not None}
    query = select(table).where(_is(table, asked)).order_by(table.c.number).limit(limit)
    if after is not None:
        query = query.where(table.c.number > after["number"])
    return rows(connection, query)


def _is(table: Table, key: Mapping[str, Any]) -> ColumnElement[bool]:
    return and_(True, *(table.c[name] == value for name, value in key.items()))
