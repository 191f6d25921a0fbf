"""A table of addresses with optional ids, labels and groups."""

# Plain strings instead of Path objects: a manifest may have a million rows.
# ruff: noqa: PTH100, PTH120
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foresift.core.errors import DataError, LabelError
from foresift.core.protocols import Arrivals, DigestMemory, Progress
from foresift.core.samples import Pool
from foresift.sources.identity import Listing, identify, list_files
from foresift.sources.read import absolute
from foresift.sources.tables import Table, read_table

COLUMNS = ("uri", "id", "label", "group")


class ManifestSource:
    """The rows of a CSV, TSV, JSONL or Parquet file: ``uri`` and optionally ``id, label, group``.

    Relative addresses start at the manifest's folder. Integer ids stay integers where the
    format has integers; in CSV and TSV ids are text.
    """

    name: str

    def __init__(self, path: str | Path, *, progress: Progress | None = None, seen: Arrivals | None = None) -> None:
        self.name = os.path.abspath(path)
        self._progress = progress
        self._seen = seen

    def pool(self, digests: DigestMemory, *, need_digests: bool) -> Pool:
        """Every sample; with own ids no image is read unless ``need_digests``.

        Raises:
            DataError: the manifest is malformed; names the line.
        """
        return identify(self.listing(), digests, need_digests=need_digests, progress=self._progress, seen=self._seen)

    def listing(self) -> Listing:
        """Rows and stamps; O(n) stats, no image is opened."""
        table = read_table(self.name, wanted=COLUMNS)
        if "uri" not in table.columns:
            came = ", ".join(table.headers) or "none"
            raise DataError(f"{self.name}: no column uri (columns: {came}); expected uri[, id, label, group]")
        uris = _addresses(table)
        ids = _own_ids(table)
        labels, groups = table.texts("label"), table.texts("group")
        if ids is None:
            return list_files(self.name, uris, labels=labels, groups=groups)
        rows = _Collapsed(table=table, uris=uris, labels=labels)
        rows.collapse(ids)
        return list_files(
            self.name,
            [uris[row] for row in rows.kept],
            ids=[ids[row] for row in rows.kept],
            labels=rows.kept_labels if labels is not None else None,
            groups=None if groups is None else [groups[row] for row in rows.kept],
        )


def _addresses(table: Table) -> list[str]:
    """Absolute paths and remote addresses of column ``uri``."""
    base = os.path.dirname(table.path)
    uris: list[str] = []
    for row, uri in enumerate(table.columns["uri"]):
        if not isinstance(uri, str) or not uri.strip():
            raise DataError(f"{table.place(row)}: uri must be a path or an address, got {uri!r}")
        try:
            uris.append(absolute(uri, base=base))
        except DataError as error:
            raise DataError(f"{table.place(row)}: {error}") from None
    return uris


def _own_ids(table: Table) -> list[Any] | None:
    """The ids, or None if there is no such column or it is empty throughout."""
    ids = table.ids()
    if ids is None or all(value == "" for value in ids):
        return None
    if "" in ids:
        raise DataError(f"{table.place(ids.index(''))}: id is empty; give every row an id, or none")
    return ids


@dataclass(slots=True)
class _Collapsed:
    """Rows with equal ids become one, if they say the same."""

    table: Table
    uris: Sequence[str]
    labels: Sequence[str] | None
    kept: list[int] = field(default_factory=list)
    kept_labels: list[str] = field(default_factory=list)

    def collapse(self, ids: Sequence[Any]) -> None:
        """Keep the first row of each id.

        Raises:
            DataError: one id, two addresses.
            LabelError: one id, two labels.
        """
        at: dict[Any, int] = {}
        for row, sample in enumerate(ids):
            label = "" if self.labels is None else self.labels[row]
            position = at.setdefault(sample, len(self.kept))
            if position == len(self.kept):
                self.kept.append(row)
                self.kept_labels.append(label)
            else:
                self._join(position, row, sample, label)

    def _join(self, position: int, row: int, sample: Any, label: str) -> None:
        first = self.kept[position]
        where = f"{self.table.place(row)}: id {sample!r}"
        if self.uris[row] != self.uris[first]:
            raise DataError(
                f"{where} names {self.uris[row]}, but {self.table.unit} {self.table.places[first]}"
                f" names {self.uris[first]}; ids must be distinct"
            )
        had = self.kept_labels[position]
        if label and had and label != had:
            raise LabelError(f"{where} is labeled {label!r}, but was labeled {had!r} above; keep one")
        self.kept_labels[position] = had or label
