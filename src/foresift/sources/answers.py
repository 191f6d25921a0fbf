"""Files of answers, row by row: the usable ones, and why each other one is not."""

# Plain strings instead of Path objects, as in the other files of this room.
# ruff: noqa: PTH100, PTH120
from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from foresift.core.errors import DataError
from foresift.core.oracles import Refusal
from foresift.sources.read import absolute, look
from foresift.sources.tables import TABLE_LIMIT_BYTES, Table, read_table

COLUMNS = ("id", "uri", "label", "annotator", "at", "cost")


class AnswerRow(NamedTuple):
    """One filled-in row."""

    place: str
    """Such as ``line 7``."""
    sample: str
    """Id as text; "" where empty."""
    uri: str
    """Absolute plain path; "" where empty."""
    label: str
    annotator: str
    """"" where the file names none."""
    at: str
    """ISO 8601, UTC: what the row says, else when the file was last written."""
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """What a table file answers."""

    path: str
    rows: tuple[AnswerRow, ...]
    """The filled-in ones, in order."""
    refused: tuple[Refusal, ...]
    empty: int
    """Rows whose label nobody has filled in yet."""


def read_answers(path: str | Path) -> AnswerFile:
    """The answers of a CSV, TSV, JSONL or Parquet file with ``id`` or ``uri``, and ``label``.

    A selection file with its label column filled in is such a file. ``annotator``, ``at`` (ISO 8601) and ``cost``
    are read where they are there. Relative addresses start at the file's folder.

    Raises:
        DataError: it can't be read as a table at all, or lacks these columns.
    """
    address = os.path.abspath(path)
    refused: list[Refusal] = []
    table = read_table(address, wanted=COLUMNS, bad=lambda line, why: refused.append(Refusal(f"line {line}", why)))
    _check_columns(table, all_refused=bool(refused) and not len(table))
    written, base = written_at(address), os.path.dirname(address)
    rows: list[AnswerRow] = []
    empty = 0
    for row in range(len(table)):
        try:
            if (found := _row(table, row, written, base)) is None:
                empty += 1
            else:
                rows.append(found)
        except DataError as error:
            refused.append(_refusal(table, row, str(error)))
    return AnswerFile(path=address, rows=tuple(rows), refused=tuple(refused), empty=empty)


def written_at(path: str | Path) -> str:
    """When a file was last written: ISO 8601, UTC."""
    mtime_ns = look(str(path), limit_bytes=TABLE_LIMIT_BYTES)[1]
    return _spelled(datetime.fromtimestamp(mtime_ns / 1e9, UTC))


def _check_columns(table: Table, *, all_refused: bool) -> None:
    if all_refused:
        return  # no row tells which columns there are, and each says why
    came = ", ".join(table.headers) or "none"
    if not {"id", "uri"} & set(table.headers):
        raise DataError(f"{table.path}: no column id or uri (columns: {came}); expected id or uri, and label")
    if "label" not in table.headers:
        raise DataError(f"{table.path}: no column label (columns: {came}); expected id or uri, and label")


def _row(table: Table, row: int, written: str, base: str) -> AnswerRow | None:
    """A row, or None if it is not filled in.

    Raises:
        DataError: a cell can't be used.
    """
    label = table.text("label", row)
    if not label:
        return None
    sample, uri = table.text("id", row), table.text("uri", row)
    if not sample and not uri:
        raise DataError("neither id nor uri is filled in")
    return AnswerRow(
        place=f"{table.unit} {table.places[row]}",
        sample=sample,
        uri=absolute(uri, base=base) if uri else "",
        label=label,
        annotator=table.text("annotator", row),
        at=_time(table.text("at", row)) or written,
        cost=_cost(table, row),
    )


def _cost(table: Table, row: int) -> float | None:
    value = table.columns["cost"][row] if "cost" in table.columns else None
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    try:
        cost = float(value)
    except (TypeError, ValueError):
        cost = -1.0
    if not 0 <= cost < float("inf"):
        raise DataError(f"cost must be a number of at least 0, got {value!r}")
    return cost


def _time(text: str) -> str:
    """A time as records spell it; one without a zone is taken as UTC. "" stays "".

    Raises:
        DataError: no ISO 8601.
    """
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
        return _spelled(time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC))
    except (ValueError, OverflowError):
        raise DataError(f"at must be a time such as 2026-05-04T17:03:00Z, got {text!r}") from None


def _spelled(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refusal(table: Table, row: int, reason: str) -> Refusal:
    place = table.place(row)
    return Refusal(f"{table.unit} {table.places[row]}", reason.removeprefix(f"{place}: "))
