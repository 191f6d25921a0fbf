"""Files of labels or of ids, and the samples of a pool that they name."""

# Plain strings instead of Path objects: a labels file may have a million rows.
# ruff: noqa: PTH100, PTH120
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foresift.core.arrays import Ids, frozen
from foresift.core.errors import DataError, LabelError
from foresift.core.labels import CANNOT_TELL
from foresift.core.samples import Label, Pool
from foresift.sources.read import absolute, fetch, printable
from foresift.sources.tables import Table, read_table

COLUMNS = ("id", "uri", "label")
_UNKNOWN, _BROKEN = -1, -2
"""Instead of a pool row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """n rows of a file; each names a sample by id or, where that is empty, by address."""

    path: str
    ids: tuple[str, ...]
    """Ids as text; "" where empty."""
    uris: tuple[str, ...]
    """Absolute plain paths; "" where empty."""
    labels: tuple[str, ...]
    """"" = not labeled (yet)."""
    places: tuple[int, ...]
    """Line numbers (row numbers in Parquet), from 1."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labeled(self) -> tuple[int, ...]:
        """Rows that carry a label."""
        return tuple(row for row, label in enumerate(self.labels) if label)

    @property
    def finished(self) -> Sequence[int]:
        """Rows whose sample is labeled already: those that carry a label, or all if none does."""
        return self.labeled or range(len(self))


class NamedLabels(NamedTuple):
    """The labels of a file for samples of a pool."""

    labels: list[Label]
    """In order of id."""
    skipped: int
    """Labeled rows that name broken files."""


class NamedIds(NamedTuple):
    """The samples of a pool that a file names."""

    ids: Ids
    """Distinct, ascending."""
    labels: tuple[str, ...]
    """What the file says each of them is; "" where it says nothing, or two different things."""
    skipped: int
    """Rows that name broken files or nothing in the pool."""


def read_labels(path: str | Path) -> LabelTable:
    """Rows of a CSV, TSV, JSONL or Parquet file with ``id`` or ``uri``, and optionally ``label``.

    A selection file with its empty label column filled in is such a file. A ``.txt`` file
    is one id a line, without labels. Relative addresses start at the file's folder.

    Raises:
        DataError: malformed, neither column there, or a row that names nothing; names the line.
    """
    address = os.path.abspath(path)
    if address.lower().endswith(".txt"):
        return _plain_ids(address)
    table = read_table(address, wanted=COLUMNS)
    if not {"id", "uri"} & set(table.columns):
        came = ", ".join(table.headers) or "none"
        raise DataError(
            f"{address}: no column id or uri (columns: {came}); expected a header line with"
            " id or uri, and label; or a .txt file with one id a line"
        )
    ids = [str(value) for value in table.ids() or [""] * len(table)]
    uris = _addresses(table)
    for row, (sample, uri) in enumerate(zip(ids, uris, strict=True)):
        if not sample and not uri:
            raise DataError(f"{table.place(row)}: neither id nor uri is filled in")
    return LabelTable(
        path=address,
        ids=tuple(ids),
        uris=tuple(uris),
        labels=tuple(table.texts("label") or [""] * len(table)),
        places=tuple(table.places),
    )


def resolve(pool: Pool, table: LabelTable) -> NamedLabels:
    """The labels of a file for a pool's samples.

    Rows without a label are ignored; rows that name a quarantined file by its address are skipped.

    Raises:
        LabelError: a row names nothing in the pool, or a sample has two different labels.
    """
    rows = table.labeled
    samples = _samples(pool, table, rows)
    if _UNKNOWN in samples:
        raise _unknown(pool, table, rows, samples)
    said: dict[int, str] = {}
    for row, sample in zip(rows, samples, strict=True):
        if sample == _BROKEN:
            continue
        label = table.labels[row]
        if said.setdefault(sample, label) != label:
            raise LabelError(
                f"{table.path}, line {table.places[row]}: sample {_name(pool, sample)} is labeled"
                f" {label!r}, but was labeled {said[sample]!r} above; keep one"
            )
    labels = [Label(sample_id=pool.ids[row].item(), value=said[row]) for row in sorted(said)]
    return NamedLabels(labels, skipped=samples.count(_BROKEN))


def rows_named(pool: Pool, table: LabelTable) -> list[int]:
    """The row of the pool that each row of a file names; below 0 where it names nothing that can be used."""
    return _samples(pool, table, range(len(table)))


def resolve_ids(pool: Pool, table: LabelTable) -> NamedIds:
    """The samples that a file names as labeled: by its filled-in rows, or by all if no label is filled in.

    Rows that name a quarantined file, or nothing in the pool, are skipped: they can't be chosen anyway.

    Raises:
        LabelError: no row names anything in the pool, so it is the wrong file.
    """
    rows = table.finished
    samples = _samples(pool, table, rows)
    if samples and set(samples) == {_UNKNOWN}:
        raise _unknown(pool, table, rows, samples)
    said: dict[int, set[str]] = {}
    for row, sample in zip(rows, samples, strict=True):
        if sample >= 0:
            said.setdefault(sample, set()).add(table.labels[row] if table.labels[row] != CANNOT_TELL else "")
    found = sorted(said)
    labels = tuple("".join(said[sample]) if len(said[sample]) == 1 else "" for sample in found)
    skipped = samples.count(_UNKNOWN) + samples.count(_BROKEN)
    return NamedIds(frozen(pool.ids[np.array(found, dtype=np.intp)]), labels, skipped)


def _samples(pool: Pool, table: LabelTable, rows: Sequence[int]) -> list[int]:
    """Pool row of each table row, by id or else by address (duplicates' addresses included).

    ``_BROKEN`` where the address is that of a quarantined file, ``_UNKNOWN`` where there is nothing.
    """
    by_id = {str(sample): row for row, sample in enumerate(pool.ids.tolist())}
    by_uri = dict(pool_addresses(pool)) if any(not table.ids[row] for row in rows) else {}
    broken = {one.uri for one in pool.quarantined}
    samples: list[int] = []
    for row in rows:
        sample, uri = table.ids[row], table.uris[row]
        found = by_id.get(sample, _UNKNOWN) if sample else by_uri.get(uri, _UNKNOWN)
        samples.append(_BROKEN if found == _UNKNOWN and printable(uri) in broken else found)
    return samples


def _unknown(pool: Pool, table: LabelTable, rows: Sequence[int], samples: list[int]) -> LabelError:
    first = rows[samples.index(_UNKNOWN)]
    return LabelError(
        f"{table.path}: {samples.count(_UNKNOWN)} of {len(rows)} rows name no sample of pool {pool.name};"
        f" the first is line {table.places[first]}: {table.ids[first] or table.uris[first]}"
    )


def pool_addresses(pool: Pool) -> Iterator[tuple[str, int]]:
    """Every address of a pool and its row; where one occurs twice, the last one counts."""
    for row, others in pool.other_uris.items():
        yield from ((uri, row) for uri in others)
    yield from ((uri, row) for row, uri in enumerate(pool.uris.tolist()))


def _addresses(table: Table) -> list[str]:
    base = os.path.dirname(table.path)
    texts = table.columns.get("uri", [""] * len(table))
    return [absolute(str(uri), base=base) if uri else "" for uri in texts]


def _plain_ids(path: str) -> LabelTable:
    try:
        lines = fetch(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; expected one id a line") from None
    kept = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    blank = ("",) * len(kept)
    return LabelTable(
        path=path,
        ids=tuple(text for _, text in kept),
        uris=blank,
        labels=blank,
        places=tuple(number for number, _ in kept),
    )


def _name(pool: Pool, row: int) -> str:
    value: Any = pool.ids[row].item()
    return f"{value!r} ({pool.uris[row]})"
