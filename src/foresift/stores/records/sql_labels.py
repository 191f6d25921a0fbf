"""Answers in SQL: looked up and inserted in large batches."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, insert, select, update

from foresift.core.labels import CANNOT_TELL, Disagreement, LabelRecord
from foresift.core.records import Added
from foresift.core.rounds import SampleId
from foresift.stores.records.answers import Delivery, Place, Said, check_asked, disagreements
from foresift.stores.records.database import Database, alone
from foresift.stores.records.rows import LABEL_COLUMNS, blocks, id_text, label_of
from foresift.stores.records.schema import labels

_COLUMNS = [labels.c[name] for name in LABEL_COLUMNS]


class SqlLabels:
    """:class:`foresift.core.records.LabelRecords` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_labels(self, labels: Iterable[LabelRecord]) -> Added:
        """Keep answers in the order given; 10,000 take well under a second."""
        delivered = tuple(labels)
        return self._database.write(lambda connection: _add(connection, delivered))

    def labels(
        self,
        *,
        run: str | None = None,
        pool: str | None = None,
        round: int | None = None,
        samples: Sequence[SampleId] | None = None,
        current: bool = True,
    ) -> tuple[LabelRecord, ...]:
        """Answers to a run or a pool, in order of arrival."""
        where = _asked(run, pool, round)
        if current:
            where.append(labels.c.superseded.is_(False))
        query = select(*_COLUMNS, labels.c.number).where(and_(*where)).order_by(labels.c.number)
        found = self._database.read(lambda connection: _rows(connection, query, samples))
        return tuple(label_of(row[:-1]) for row in found)

    def count_labels(self, run: str) -> int:
        """Samples that rounds of a run asked for and that somebody has named a class or mask of."""
        where = and_(
            labels.c.run == run,
            labels.c.round.is_not(None),
            labels.c.superseded.is_(False),
            labels.c.value != CANNOT_TELL,
        )
        query = select(func.count(labels.c.sample.distinct())).where(where)
        return self._database.read(lambda connection: connection.execute(query).scalar_one())

    def conflicts(
        self, *, run: str | None = None, pool: str | None = None, round: int | None = None
    ) -> tuple[Disagreement, ...]:
        """Samples whose current answers disagree."""
        return disagreements(self.labels(run=run, pool=pool, round=round))


def _asked(run: str | None, pool: str | None, round: int | None) -> list[ColumnElement[bool]]:
    check_asked(run, pool)
    wanted = ((labels.c.run, run), (labels.c.pool, pool), (labels.c.round, round))
    return [column == value for column, value in wanted if value is not None]


def _rows(connection: Connection, query: Select[Any], samples: Sequence[SampleId] | None) -> list[Row[Any]]:
    if samples is None:
        return list(connection.execute(query).all())
    names = sorted({id_text(sample) for sample in samples})
    found = [row for part in blocks(names) for row in connection.execute(query.where(labels.c.sample.in_(part))).all()]
    return sorted(found, key=lambda row: row.number)


def _add(connection: Connection, delivered: Sequence[LabelRecord]) -> Added:
    groups = _by_group(delivered)
    for pool, run in sorted(groups):
        alone(connection, f"labels {pool} {run}")
    delivery = Delivery(known=_known(connection, delivered), current=_current(connection, groups))
    added = delivery.settle(delivered)
    for part in blocks(sorted(delivery.superseded)):
        connection.execute(update(labels).where(labels.c.id.in_(part)).values(superseded=True))
    if delivery.rows:
        connection.execute(insert(labels), list(delivery.rows.values()))
    return added


def _by_group(delivered: Iterable[LabelRecord]) -> Mapping[tuple[str, str], set[str]]:
    """Samples as text, by pool and run."""
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for label in delivered:
        groups[label.pool, label.run or ""].add(id_text(label.sample_id))
    return groups


def _known(connection: Connection, delivered: Iterable[LabelRecord]) -> dict[str, Place]:
    """Places of the answers that are named, as far as they are stored."""
    names = {label.id for label in delivered} | {label.supersedes for label in delivered if label.supersedes}
    query = select(labels.c.id, labels.c.pool, labels.c.run, labels.c.sample, labels.c.region)
    return {
        row[0]: (row[1], row[2], row[3], row[4])
        for part in blocks(sorted(names))
        for row in connection.execute(query.where(labels.c.id.in_(part))).all()
    }


def _current(connection: Connection, groups: Mapping[tuple[str, str], Iterable[str]]) -> dict[Place, dict[str, Said]]:
    current: dict[Place, dict[str, Said]] = defaultdict(dict)
    for (pool, run), names in groups.items():
        for part in blocks(sorted(names)):
            for place, annotator, said in _current_of(connection, pool, run, part):
                current[place][annotator] = said
    return current


def _current_of(connection: Connection, pool: str, run: str, names: Sequence[str]) -> Iterator[tuple[Place, str, Said]]:
    columns = (labels.c.sample, labels.c.region, labels.c.annotator, labels.c.id, labels.c.value)
    where = and_(labels.c.pool == pool, labels.c.run == run, labels.c.sample.in_(names), labels.c.superseded.is_(False))
    for sample, region, annotator, key, value in connection.execute(select(*columns).where(where)).all():
        yield (pool, run, sample, region), annotator, Said(key, value)
