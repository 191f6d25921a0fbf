"""What commands print: tables, notes on standard error, one JSON object with ``--json``."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from foresift.core.samples import Quarantined

NO_TERMINAL = 100
"""Characters in a line where there is no terminal."""
SHOWN = 50
"""Broken files listed one by one; ``--json`` lists all."""
_GAP = "  "
_LEAST_WIDTH = 8


def say(text: str = "") -> None:
    """A line of the answer, on standard output."""
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        # The reader of our output left; that is its right. What Python flushes at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def note(text: str) -> None:
    """A remark about the answer, on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def emit_json(value: Mapping[str, Any]) -> None:
    """The whole answer as one JSON object on standard output."""
    say(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, width: int | None = None) -> None:
    """Aligned columns: a rich table on a terminal, plain text elsewhere.

    Args:
        width: of the plain text in characters; cells are wrapped to fit. None = lines are as long as they are.
    """
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _rich_table(cells, columns)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    if width is not None:
        widths = _fitted(widths, width - len(_GAP) * (len(columns) - 1))
    for line in [list(columns), *cells]:
        _say_row(line, widths)


def screen_width() -> int:
    """Characters in a line of the terminal, 100 where there is none."""
    return shutil.get_terminal_size((NO_TERMINAL, 24)).columns


def notes_about_pool(quarantined: Sequence[Quarantined], remarks: Iterable[str]) -> None:
    """Every broken file with its reason, and what the source had to say."""
    for remark in remarks:
        note(f"note: {remark}")
    if not quarantined:
        return
    note(f"quarantined, never ranked: {len(quarantined)} file{'s' if len(quarantined) != 1 else ''}")
    for one in quarantined[:SHOWN]:
        note(f"  {one.uri}: {one.reason}")
    if len(quarantined) > SHOWN:
        note(f"  ... and {len(quarantined) - SHOWN} more (--json lists all)")


def quarantine_json(quarantined: Sequence[Quarantined]) -> list[dict[str, str]]:
    """Plain values for ``--json``."""
    return [{"uri": one.uri, "reason": one.reason} for one in quarantined]


def percent(value: float | None) -> str:
    """``0.8312`` as ``83.1 %``; a dash for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def _fitted(widths: Sequence[int], total: int) -> list[int]:
    """The widths, the largest of them cut until their sum is no more than ``total``."""
    fitted = list(widths)
    while sum(fitted) > total and max(fitted) > _LEAST_WIDTH:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _say_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """One row, on several lines where a cell is wider than its column."""
    wrapped = [textwrap.wrap(text, width, break_on_hyphens=False) for text, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=""):
        say(_GAP.join(text.ljust(width) for text, width in zip(parts, widths, strict=True)).rstrip())


def _rich_table(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for line in cells:
        drawn.add_row(*(_escaped(text) for text in line))
    Console().print(drawn)


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
