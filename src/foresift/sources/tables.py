"""Rows of a CSV, TSV, JSONL or Parquet file, column by column, with a name for each place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from foresift.core.errors import DataError
from foresift.sources.read import read, unspeakable

TABLE_LIMIT_BYTES = 8 * 2**30
BadRow: TypeAlias = Callable[[int, str], None]
"""Told the line of a row that can't be read, and why."""
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The wanted columns of a file; n rows each."""

    path: str
    headers: tuple[str, ...]
    """All columns that the file has."""
    columns: Mapping[str, Sequence[Any]]
    """The wanted ones among them; None and "" = empty."""
    places: Sequence[int]
    """n line numbers (row numbers in Parquet), from 1."""
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.places)

    def place(self, row: int) -> str:
        """Where a row stands, for an error: ``PATH, line 7``."""
        return f"{self.path}, {self.unit} {self.places[row]}"

    def texts(self, name: str) -> list[str] | None:
        """A column as text without outer blanks; whole numbers become digits; None if there is none.

        Raises:
            DataError: a value is neither text nor a whole number; names the place.
        """
        if name not in self.columns:
            return None
        return [self._text(name, row, value) for row, value in enumerate(self.columns[name])]

    def ids(self) -> list[Any] | None:
        """Column ``id``: integers if all are, else text with "" where empty; None if there is none.

        Raises:
            DataError: as :meth:`texts`.
        """
        values = self.columns.get("id")
        if values is None:
            return None
        if values and all(type(value) is int and value in _INT64 for value in values):
            return list(values)
        return self.texts("id")

    def text(self, name: str, row: int) -> str:
        """One cell as :meth:`texts` gives it; "" if there is no such column."""
        return self._text(name, row, self.columns[name][row]) if name in self.columns else ""

    def _text(self, name: str, row: int, value: Any) -> str:
        if isinstance(value, str):
            if unspeakable(value) is not None:
                raise DataError(f"{self.place(row)}: {name} is not valid text: {value!r}")
            return value.strip()
        if value is None or value != value:  # NaN is how data frames spell an empty cell
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if name != "id" and isinstance(value, float) and value.is_integer():
            return str(int(value))  # data frames turn whole numbers into floats where a cell is empty
        raise DataError(f"{self.place(row)}: {name} must be text or a whole number, got {value!r}")


def read_table(path: str, *, wanted: Sequence[str], bad: BadRow | None = None) -> Table:
    """The wanted columns of a table file, by its suffix.

    Args:
        bad: told of rows that can't be read, which are then left out; None = the first one is an error.
    Raises:
        DataError: unknown suffix, unreadable or malformed file; names the line.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{path}: expected a table ({', '.join(sorted(READERS))}), got {suffix or 'no suffix'!r}")
    return READERS[suffix](path, wanted, _refusing(path) if bad is None else bad)


def _refusing(path: str) -> BadRow:
    def refuse(line: int, reason: str) -> None:
        raise DataError(f"{path}, line {line}: {reason}")

    return refuse


def _read_csv(path: str, wanted: Sequence[str], bad: BadRow, *, delimiter: str | None = None) -> Table:
    text = _read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(text))
    rows: list[list[str]] = []
    places: list[int] = []
    try:
        headers = tuple(cell.strip() for cell in next(reader, []))
        for row in filter(None, reader):
            if len(row) != len(headers):
                bad(reader.line_num, f"expected {len(headers)} fields ({', '.join(headers)}), got {len(row)}")
                continue
            rows.append(row)
            places.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    _require_distinct(path, headers)
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(headers)
    columns = {name: cells[headers.index(name)] for name in wanted if name in headers}
    return Table(path=path, headers=headers, columns=columns, places=places)


def _delimiter(text: str) -> str:
    """What separates the header's columns: spreadsheets save semicolons where a comma is the decimal sign."""
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _read_tsv(path: str, wanted: Sequence[str], bad: BadRow) -> Table:
    return _read_csv(path, wanted, bad, delimiter="\t")


def _read_jsonl(path: str, wanted: Sequence[str], bad: BadRow) -> Table:
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_json_object(line))
            places.append(number)
        except DataError as error:
            bad(number, str(error))
    headers = tuple(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in wanted if name in headers}
    return Table(path=path, headers=headers, columns=columns, places=places)


def _json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON ({error}); expected one object a line") from None
    if not isinstance(value, dict):
        raise DataError(f'expected an object such as {{"uri": ...}}, got {line.strip()[:40]!r}')
    return value


def _read_parquet(path: str, wanted: Sequence[str], _: BadRow) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        headers = tuple(file.schema_arrow.names)
        _require_distinct(path, headers)
        table = file.read(columns=[name for name in wanted if name in headers])
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    return Table(path=path, headers=headers, columns=columns, places=range(1, table.num_rows + 1), unit="row")


def _read_text(path: str) -> str:
    """The file as UTF-8 text; the byte-order mark that spreadsheets write is dropped."""
    data = read(path, limit_bytes=TABLE_LIMIT_BYTES).data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def _require_distinct(path: str, headers: Sequence[str]) -> None:
    twice = next((name for name in headers if headers.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: column {twice!r} occurs twice; column names must be distinct")


READERS: Mapping[str, Callable[[str, Sequence[str], BadRow], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
