"""Entries and the samples of pools in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Select, Table, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from foresift.core.records import Entry, PoolSample
from foresift.core.rounds import SampleId
from foresift.stores.records import fenced
from foresift.stores.records.database import Database, alone
from foresift.stores.records.fences import Found
from foresift.stores.records.rows import ENTRIES, Row, blocks, id_of, id_text, sample_row
from foresift.stores.records.schema import entries, pools, samples

_SAMPLE = (samples.c.number, samples.c.sample, samples.c.uri, samples.c.digest)
_BATCH = 20_000
"""Samples stored in one transaction."""


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
        """Remember samples of a pool, in batches; a million take some ten seconds."""
        key = self._database.write(lambda connection: _key_of_new(connection, pool))
        rest, new = iter(samples), 0
        while batch := [{"pool": key, **sample_row(sample)} for sample in islice(rest, _BATCH)]:
            new += self._database.write(lambda connection, batch=batch: _add(connection, key, batch))  # type: ignore[misc]
        return new

    def samples(
        self,
        pool: str,
        *,
        ids: Sequence[SampleId] | None = None,
        limit: int | None = None,
        after: SampleId | None = None,
    ) -> tuple[PoolSample, ...]:
        """Samples of a pool in the order in which they were added."""

        def work(connection: Connection) -> tuple[PoolSample, ...]:
            key = _key(connection, pool)
            query = select(*_SAMPLE).where(samples.c.pool == key).order_by(samples.c.number).limit(limit)
            if after is not None:
                start = fenced.get(connection, samples, f"sample {after!r}", pool=key, sample=id_text(after))
                query = query.where(samples.c.number > start["number"])
            found = _found(connection, query, ids)[:limit]
            return tuple(PoolSample(id=id_of(row[1]), uri=row[2], digest=row[3]) for row in found)

        return self._database.read(work)

    def count_samples(self, pool: str) -> int:
        """How many samples of a pool are remembered."""

        def work(connection: Connection) -> int:
            key = _key(connection, pool)
            return connection.execute(select(func.count()).where(samples.c.pool == key)).scalar_one()

        return self._database.read(work)


def _found(connection: Connection, query: Select[Any], ids: Sequence[SampleId] | None) -> Sequence[Any]:
    """Plain tuples: there may be a million of them."""
    if ids is None:
        return connection.execute(query).all()
    names = sorted(set(map(id_text, ids)))
    found = [row for part in blocks(names) for row in connection.execute(query.where(samples.c.sample.in_(part)))]
    return sorted(found, key=lambda row: int(row[0]))


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


def _add(connection: Connection, key: int, batch: list[Row]) -> int:
    alone(connection, f"samples {key}")
    return _insert_new(connection, samples, batch)


def _insert_new(connection: Connection, table: Table, rows: list[Row]) -> int:
    """Insert those rows whose unique columns are not there yet; returns how many."""
    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = kind.insert(table).on_conflict_do_nothing()
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount
