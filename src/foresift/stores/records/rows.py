"""Records as rows of plain columns and back; every back end stores these."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from foresift.core.digests import digest_bytes
from foresift.core.errors import UsageError
from foresift.core.jobs import Event, Job
from foresift.core.labels import LabelRecord
from foresift.core.records import Entry, PoolSample
from foresift.core.regions import Region
from foresift.core.rounds import Round, Run, SampleId

T = TypeVar("T")
Row = dict[str, Any]
_BLOCK = 5000
"""Values in one statement; SQLite takes 32,766, PostgreSQL 65,535."""


class Codec(Generic[T]):
    """Between a record and its row: most fields as they are, mappings and tuples as JSON text."""

    def __init__(self, kind: type[T], *, plain: Collection[str] = (), tuples: Collection[str] = ()) -> None:
        self._kind = kind
        self._fields = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        self._texts = {*plain, *tuples}
        self._tuples = set(tuples)

    def row(self, value: T) -> Row:
        """The row of a record.

        Raises:
            UsageError: a mapping holds something that is not plain.
        """
        row = {name: getattr(value, name) for name in self._fields}
        return row | {name: None if row[name] is None else to_text(row[name]) for name in self._texts}

    def value(self, row: Mapping[str, Any]) -> T:
        """The record of a row, which may have further columns."""
        values = {name: row[name] for name in self._fields}
        values |= {name: json.loads(values[name]) for name in self._texts if values[name] is not None}
        return self._kind(**values | {name: tuple(values[name]) for name in self._tuples})


RUNS = Codec(Run, plain=["config", "trial"])
ROUNDS = Codec(Round, plain=["metrics", "details"], tuples=["selected"])
JOBS = Codec(Job, plain=["request", "progress", "answer"])
EVENTS = Codec(Event, plain=["values"])
ENTRIES = Codec(Entry, plain=["values"], tuples=["parents"])


def born(row: Row) -> str:
    """Digest of what a record was added with, so that the same addition is known again after changes."""
    return digest_bytes(to_text(row).encode())


def to_text(value: Any) -> str:
    """Plain values as JSON in ASCII, keys sorted, so that equal values have equal texts.

    Raises:
        UsageError: not plain: another type, NaN or infinity.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"only plain values can be stored (text, finite numbers, lists, objects): {error}") from None


def id_text(sample: SampleId) -> str:
    """A sample's id as text that tells 7 from "7"."""
    if isinstance(sample, int):
        return str(sample)
    plain = sample.isascii() and sample.isprintable() and '"' not in sample and "\\" not in sample
    return f'"{sample}"' if plain else json.dumps(sample)  # the same text, in a tenth of the time


def id_of(text: str) -> SampleId:
    """Inverse of :func:`id_text`."""
    if text[0] != '"':
        return int(text)
    return str(json.loads(text)) if "\\" in text else text[1:-1]


def label_row(label: LabelRecord) -> Row:
    """The row of an answer; what is None in it is "" where rows are compared by it."""
    return {
        "id": label.id,
        "pool": label.pool,
        "run": label.run or "",
        "sample": id_text(label.sample_id),
        "region": "" if label.region is None else str(label.region),
        "annotator": label.annotator,
        "value": label.value,
        "at": label.at,
        "round": label.round,
        "cost": label.cost,
        "source": label.source,
        "supersedes": label.supersedes,
    }


LABEL_COLUMNS = (
    *("id", "pool", "run", "sample", "region", "annotator"),
    *("value", "at", "round", "cost", "source", "supersedes"),
)


def label_of(values: tuple[Any, ...]) -> LabelRecord:
    """The answer of ``LABEL_COLUMNS``."""
    key, pool, run, sample, region, annotator, value, at, number, cost, source, supersedes = values
    return LabelRecord(
        id=key,
        pool=pool,
        run=run or None,
        sample_id=id_of(sample),
        region=Region(*map(int, region.split(","))) if region else None,
        annotator=annotator,
        value=value,
        at=at,
        round=number,
        cost=cost,
        source=source,
        supersedes=supersedes,
    )


def sample_row(sample: PoolSample) -> Row:
    """The row of a sample, but for its pool."""
    return {"sample": id_text(sample.id), "uri": sample.uri, "digest": sample.digest}


def sample_of(row: Mapping[str, Any]) -> PoolSample:
    """Inverse of :func:`sample_row`."""
    return PoolSample(id=id_of(row["sample"]), uri=row["uri"], digest=row["digest"])


def blocks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts that fit into one statement."""
    return (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))
