"""A table file whose label column is filled in row by row: the file is whole after every label.

What is not labeled keeps its bytes (CSV, TSV, JSON Lines) or its values and types (Parquet).
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from foresift.core.errors import DataError, StoreError, UsageError
from foresift.stores.files import disk_errors, write_atomically

LABEL, ANNOTATOR = "label", "annotator"


class Rows(Protocol):
    """The contents of a table file."""

    def texts(self, name: str) -> list[str]:
        """A column as text without outer blanks; empty texts where there is no such column."""

    def filled(self, row: int, cells: Mapping[str, str]) -> Rows:
        """The same table with cells of one row replaced; columns that it lacks are added."""

    def write(self, target: Path) -> None:
        """Write all of it."""


class LabelSheet:
    """The labels of a table file, read from it and written into it.

    Several threads and processes may label one file: each write is made under a lock on the file, on what
    the file holds at that moment. A label takes O(n) time, mostly the disk's.
    """

    def __init__(self, path: Path, *, annotator: str = "") -> None:
        """Open a file.

        Args:
            annotator: goes into column ``annotator`` of every row that is labeled; "" = no such column is kept.
        Raises:
            UsageError: a kind of file that is not a table.
            DataError: not a readable table.
            StoreError: the file or its folder can't be written.
        """
        self.path = path.resolve()  # a link stays a link to the file that is replaced
        self._annotator = annotator
        self._mutex = threading.Lock()
        self._stamp = (0, 0, 0)
        self._rows = _read(self.path)
        self._names = _named(self._rows)
        self._labels: list[str] = []
        with locked_in_place(self.path):
            self._refresh()
        if not os.access(self.path.parent, os.W_OK):
            raise StoreError(f"can't write {path}: the folder {self.path.parent} can't be written")

    @property
    def takes_back(self) -> bool:
        """A label can be taken away again: putting "" leaves the cell empty."""
        return True

    def __len__(self) -> int:
        return len(self._labels)

    def texts(self, name: str) -> list[str]:
        """A column as text; empty texts where there is no such column."""
        return self._rows.texts(name)

    def answers(self) -> Sequence[str]:
        """(n,) the labels that stand in the file now; "" where there is none.

        Raises:
            StoreError: the file is gone, or names other samples than before.
        """
        with self._mutex:
            self._refresh()
            return self._labels

    def put(self, row: int, value: str, *, seen: str) -> str:
        """Write a label if the row still says what the person saw; gives what it says now.

        Args:
            value: a label; "" takes it away.
            seen: what stood there when the person decided.
        Raises:
            StoreError: the disk refuses, or the file names other samples than before; nothing was written.
        """
        with self._mutex, locked_in_place(self.path):
            self._refresh()
            now = self._labels[row]
            if now != seen or now == value:
                return now
            who = {ANNOTATOR: self._annotator if value else ""} if self._annotator else {}
            self._save(self._rows.filled(row, {LABEL: value, **who}))
            self._labels = [*self._labels[:row], value, *self._labels[row + 1 :]]
            return value

    def _refresh(self) -> None:
        with disk_errors(self.path):
            stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        rows = _read(self.path)
        if _named(rows) != self._names:
            raise StoreError(
                f"{self.path} names other samples than when it was opened; every label so far is in it:"
                " stop this page and run the same command again"
            )
        self._rows, self._labels, self._stamp = rows, rows.texts(LABEL), stamp

    def _save(self, rows: Rows) -> None:
        def write(target: Path) -> None:
            shutil.copymode(self.path, target)
            rows.write(target)

        write_atomically(self.path, write)
        self._rows, self._stamp = rows, _stamp(self.path)


@contextmanager
def locked_in_place(path: Path) -> Iterator[None]:
    """One process at a time writes this file, though each puts a new file in its place.

    Raises:
        StoreError: the file can't be opened for writing.
    """
    with disk_errors(path):
        file = _locked(path)
    with file:
        yield


def _locked(path: Path) -> BinaryIO:
    """The file under a lock, once it is the one that lies there and not one that was replaced meanwhile."""
    while True:
        file = path.open("rb+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """Records of a text file as they were written; only those that change are written anew."""

    head: str
    """What comes before the first row."""
    records: list[str]
    """Every record with its line end; blank lines too."""
    at: list[int]
    """Of each row its record."""

    def replaced(self, row: int, record: str) -> _Lines:
        records = self.records.copy()
        records[self.at[row]] = record
        return replace(self, records=records)

    def write(self, target: Path) -> None:
        target.write_bytes((self.head + "".join(self.records)).encode("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Csv:
    lines: _Lines
    names: tuple[str, ...]
    cells: list[list[str]]
    delimiter: str
    mark: str = ""
    """The byte-order mark that spreadsheets write."""
    end: str = "\n"

    def texts(self, name: str) -> list[str]:
        if name not in self.names:
            return [""] * len(self.cells)
        column = self.names.index(name)
        return [cells[column].strip() for cells in self.cells]

    def filled(self, row: int, cells: Mapping[str, str]) -> Rows:
        new = [name for name in cells if name not in self.names]
        if new:
            return self._widened(new).filled(row, cells)
        given = {**dict(zip(self.names, self.cells[row], strict=True)), **cells}
        line = [given[name] for name in self.names]
        rows = self.cells.copy()
        rows[row] = line
        return replace(self, cells=rows, lines=self.lines.replaced(row, self._spelled(line)))

    def _widened(self, new: Sequence[str]) -> _Csv:
        names = (*self.names, *new)
        cells = [[*line, *("" for _ in new)] for line in self.cells]
        lines = _Lines(
            head=self.mark + self._spelled(names),
            records=[self._spelled(line) for line in cells],
            at=[*range(len(cells))],
        )
        return replace(self, names=names, cells=cells, lines=lines)

    def _spelled(self, line: Sequence[str]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator=self.end).writerow(line)
        return text.getvalue()

    def write(self, target: Path) -> None:
        self.lines.write(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _JsonLines:
    lines: _Lines
    objects: list[dict[str, Any]]

    def texts(self, name: str) -> list[str]:
        return [_text(one.get(name)) for one in self.objects]

    def filled(self, row: int, cells: Mapping[str, str]) -> Rows:
        objects = self.objects.copy()
        objects[row] = {**objects[row], **cells}
        record = json.dumps(objects[row], ensure_ascii=False) + "\n"
        return replace(self, objects=objects, lines=self.lines.replaced(row, record))

    def write(self, target: Path) -> None:
        self.lines.write(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parquet:
    table: pa.Table
    edited: Mapping[str, list[str]] = field(default_factory=dict)
    """The columns that are filled in."""

    def texts(self, name: str) -> list[str]:
        if name in self.edited:
            return self.edited[name]
        if name not in self.table.column_names:
            return [""] * self.table.num_rows
        return [_text(value) for value in self.table.column(name).to_pylist()]

    def filled(self, row: int, cells: Mapping[str, str]) -> Rows:
        columns = {name: [*self.texts(name)] for name in cells}
        for name, value in cells.items():
            columns[name][row] = value
        return replace(self, edited={**self.edited, **columns})

    def write(self, target: Path) -> None:
        table = self.table
        for name, values in self.edited.items():
            column = pa.array(values, pa.string())
            at = table.schema.get_field_index(name)
            table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
        pq.write_table(table, target)


def _read(path: Path) -> Rows:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UsageError(f"{path}: expected a table ({', '.join(_READERS)}), got {suffix or 'no suffix'!r}")
    return _READERS[suffix](path)


def _read_csv(path: Path, delimiter: str | None = None) -> Rows:
    text = _decoded(path)
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix(mark)
    first = text.partition("\n")[0]
    chosen = delimiter or (";" if ";" in first and "," not in first else ",")
    try:
        records = list(_records(text, chosen))
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from None
    if not records:
        raise DataError(f"{path} is empty; expected a header line")
    header, body = records[0], records[1:]
    names = tuple(cell.strip() for cell in header[1])
    at = [number for number, (_, cells) in enumerate(body) if cells]
    cells = [body[number][1] for number in at]
    if any(len(line) != len(names) for line in cells):
        raise DataError(f"{path}: not every row has {len(names)} fields")
    end = "\r\n" if header[0].endswith("\r\n") else "\n"
    raw = [record for record, _ in body]
    if raw and not raw[-1].endswith(("\n", "\r")):
        raw[-1] += end
    lines = _Lines(head=mark + header[0], records=raw, at=at)
    return _Csv(lines=lines, names=names, cells=cells, delimiter=chosen, mark=mark, end=end)


def _records(text: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Each record as it is written, and its cells; none of a blank line."""
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=delimiter)
    start = 0
    for cells in reader:
        yield "".join(lines[start : reader.line_num]), cells
        start = reader.line_num


def _read_json_lines(path: Path) -> Rows:
    records = [line + "\n" for line in _decoded(path).removeprefix("\ufeff").removesuffix("\n").split("\n")]
    at = [number for number, record in enumerate(records) if record.strip()]
    try:
        objects = [json.loads(records[number]) for number in at]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON Lines ({error})") from None
    if not all(isinstance(one, dict) for one in objects):
        raise DataError(f"{path}: expected one object a line")
    return _JsonLines(lines=_Lines(head="", records=records, at=at), objects=objects)


def _read_parquet(path: Path) -> Rows:
    with disk_errors(path):
        path.open("rb").close()  # says why a file can't be opened
    try:
        return _Parquet(table=pq.read_table(pa.OSFile(str(path))))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None


_READERS: Mapping[str, Callable[[Path], Rows]] = {
    ".csv": _read_csv,
    ".tsv": lambda path: _read_csv(path, "\t"),
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}


def _decoded(path: Path) -> str:
    with disk_errors(path):
        data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save the file as UTF-8") from None


def _named(rows: Rows) -> tuple[list[str], list[str]]:
    return rows.texts("id"), rows.texts("uri")


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _text(value: Any) -> str:
    """As :mod:`foresift.sources.tables` reads a cell."""
    if value is None or value != value:  # NaN is how data frames spell an empty cell
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
