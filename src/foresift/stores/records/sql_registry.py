"""Entries and the samples of pools in SQL."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Column, Connection, Select, Table, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from foresift.core.records import Entry, PoolSample
from foresift.core.rounds import SampleId
from foresift.stores.records import fenced
from foresift.stores.records.database import Database, alone
from foresift.stores.records.fences import Found
from foresift.stores.records.rows import ENTRIES, Row, blocks, id_of, id_text
from foresift.stores.records.schema import entries, escaped, pools, samples

Stored: TypeAlias = tuple[str, str, str, int]
"""sample, uri, digest and address as they are stored: plain tuples, since there may be millions."""
_SAMPLE = (samples.c.number, samples.c.sample, samples.c.uri, samples.c.digest)
_BATCH = 100_000
"""Samples stored in one transaction."""
_INTO = "INSERT INTO samples (pool, sample, uri, digest, address)"


class SqlRegistry:
    """:class:`foresift.core.records.Registry` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, entry: Entry) -> Entry:
        """Keep an entry, or find one of its kind and id there already."""
        row, key = ENTRIES.row(entry), {"kind": entry.kind, "id": entry.id}

        def work(connection: Connection) -> Found:
            _insert_new(connection, entries, [row])
            return fenced.get(connection, entries, f"{entry.kind} {entry.id}", **key)

        return ENTRIES.value(self._database.write(work))

    def entry(self, kind: str, entry: str) -> Entry:
        """The entry of a kind and id."""
        return ENTRIES.value(
            self._database.read(
                lambda connection: fenced.get(connection, entries, f"{kind} {entry}", kind=kind, id=entry)
            )
        )

    def entries(
        self, kind: str, *, run: str | None = None, limit: int | None = None, after: str | None = None
    ) -> tuple[Entry, ...]:
        """Entries of a kind in the order in which they were registered."""

        def work(connection: Connection) -> tuple[Entry, ...]:
            start = None if after is None else fenced.get(connection, entries, f"{kind} {after}", kind=kind, id=after)
            found = fenced.page(connection, entries, where={"kind": kind, "run": run}, limit=limit, after=start)
            return tuple(map(ENTRIES.value, found))

        return self._database.read(work)

    def add_samples(self, pool: str, samples: Iterable[PoolSample]) -> int:
        """Remember samples of a pool, in batches; a million take some seconds."""
        key = self._database.write(lambda connection: _key_of_new(connection, pool))
        rest, new = iter(samples), 0
        while batch := [_stored(sample) for sample in islice(rest, _BATCH)]:
            new += self._database.write(lambda connection, batch=batch: _add(connection, key, batch))  # type: ignore[misc]
        return new

    def samples(
        self,
        pool: str,
        *,
        ids: Sequence[SampleId] | None = None,
        uris: Collection[str] | None = None,
        limit: int | None = None,
        after: SampleId | None = None,
    ) -> tuple[PoolSample, ...]:
        """Samples of a pool in the order in which they were added."""

        def work(connection: Connection) -> tuple[PoolSample, ...]:
            key = _key(connection, pool)
            query = select(*_SAMPLE).where(samples.c.pool == key)
            if after is not None:
                start = fenced.get(connection, samples, f"sample {after!r}", pool=key, sample=id_text(after))
                query = query.where(samples.c.number > start["number"])
            if ids is None and uris is None:
                found = connection.execute(query.order_by(samples.c.number).limit(limit)).all()
            else:
                found = _named(connection, query, ids, uris)[:limit]
            return tuple(PoolSample(id=id_of(row[1]), uri=row[2], digest=row[3]) for row in found)

        return self._database.read(work)

    def count_samples(self, pool: str) -> int:
        """How many samples of a pool are remembered."""

        def work(connection: Connection) -> int:
            key = _key(connection, pool)
            return connection.execute(select(func.count()).where(samples.c.pool == key)).scalar_one()

        return self._database.read(work)


def _stored(sample: PoolSample) -> Stored:
    uri = escaped(sample.uri)
    return id_text(sample.id), uri, sample.digest, _address(uri)


def _address(stored: str) -> int:
    """The number that an address, as it is stored, is looked up by; some share one."""
    return zlib.crc32(stored.encode())


def _named(
    connection: Connection, query: Select[Any], ids: Sequence[SampleId] | None, uris: Collection[str] | None
) -> Sequence[Any]:
    """The rows of these ids, at these addresses, in the order of adding."""
    wanted = None if uris is None else set(uris)
    if ids is not None:
        found = _among(connection, query, samples.c.sample, set(map(id_text, ids)))
    else:
        found = _among(connection, query, samples.c.address, {_address(escaped(uri)) for uri in wanted or ()})
        # Rows that an earlier version, still running beside this one, added have no checksum.
        found += _among(connection, query.where(samples.c.address.is_(None)), samples.c.uri, wanted or set())
    return sorted((row for row in found if wanted is None or row[2] in wanted), key=lambda row: int(row[0]))


def _among(connection: Connection, query: Select[Any], column: Column[Any], values: Collection[Any]) -> list[Any]:
    """The rows of a query where a column has one of these values."""
    parts = (connection.execute(query.where(column.in_(part))).all() for part in blocks(sorted(values)))
    return [row for part in parts for row in part]


def _key(connection: Connection, pool: str) -> int | None:
    return connection.execute(select(pools.c.key).where(pools.c.name == pool)).scalar()


def _key_of_new(connection: Connection, pool: str) -> int:
    alone(connection, "pools")
    key = _key(connection, pool)
    if key is None:
        connection.execute(insert(pools), [{"name": pool}])
        key = _key(connection, pool)
    assert key is not None  # noqa: S101 - it was inserted
    return key


def _add(connection: Connection, key: int, batch: list[Stored]) -> int:
    """Insert the samples of a pool that are not there yet, past everything that makes ready single rows; how many."""
    alone(connection, f"samples {key}")
    insert_all = _insert_columns if connection.dialect.name == "postgresql" else _insert_rows
    return insert_all(connection, key, batch)


def _insert_rows(connection: Connection, key: int, batch: list[Stored]) -> int:
    statement = f"{_INTO} VALUES ({key:d}, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    return connection.exec_driver_sql(statement, batch, execution_options={"preserve_rowcount": True}).rowcount


def _insert_columns(connection: Connection, key: int, batch: list[Stored]) -> int:
    given = "CAST(:sample AS text[]), CAST(:uri AS text[]), CAST(:digest AS text[]), CAST(:address AS bigint[])"
    statement = text(f"{_INTO} SELECT {key:d}, * FROM unnest({given}) ON CONFLICT DO NOTHING")  # noqa: S608
    names = ("sample", "uri", "digest", "address")
    columns = dict(zip(names, map(list, zip(*batch, strict=True)), strict=True))
    return connection.execute(statement, columns, execution_options={"preserve_rowcount": True}).rowcount


def _insert_new(connection: Connection, table: Table, rows: list[Row]) -> int:
    """Insert those rows whose unique columns are not there yet; returns how many."""
    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = kind.insert(table).on_conflict_do_nothing()
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount
