"""Frames in the order in which they come, one at a time: a folder, a manifest, or addresses on standard input.

Nothing is listed ahead but the names of one folder, or of all folders where their files come in the order of time, so
that a stream may be endless.
"""

# Plain strings instead of Path objects: a stream may hold a million of them.
# ruff: noqa: PTH116, PTH120, PTH122
from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from foresift.core.errors import DataError, MissingPathError
from foresift.sources.read import absolute

BY_NAME, BY_TIME = "name", "time"
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"))


def frames(spec: str, *, stdin: Iterable[str] | None = None, order: str = BY_NAME) -> Iterator[str]:
    """Absolute paths of the frames.

    Args:
        spec: a folder, a .csv or .jsonl file with a column ``uri``, or ``-`` for one address a line.
        stdin: lines to use for ``-``; by default those of the process.
        order: of a folder's image files: ``name``, folder by folder, or ``time``, all by modification time, which keeps
            all their paths in memory, about 0.13 kB a frame.
    Raises:
        MissingPathError: nothing is there.
        DataError: it is neither of these, or a line of it names no frame.
    """
    if spec == "-":
        return _lines(_standard_input() if stdin is None else stdin)
    path = Path(spec).expanduser()
    if path.is_dir():
        listed = _folder(str(path.absolute()))
        return _by_time(listed) if order == BY_TIME else listed
    if not path.exists():
        raise MissingPathError(f"{spec}: no such file or folder; expected a folder of frames, a manifest or -")
    reader = {".csv": _csv, ".jsonl": _jsonl}.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{spec}: expected a folder of frames, a .csv or .jsonl file with a column uri, or -")
    return reader(path)


def _folder(folder: str) -> Iterator[str]:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.path


def _by_time(listed: Iterable[str]) -> Iterator[str]:
    paths = list(listed)
    times = np.fromiter(map(_modified, paths), np.int64, len(paths))
    for at in np.argsort(times, kind="stable"):
        yield paths[at]


def _modified(path: str) -> int:
    """Nanoseconds; 0 for a file that is gone, as whoever reads it will say."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _lines(lines: Iterable[str]) -> Iterator[str]:
    base = str(Path.cwd())
    for line in lines:
        text = line.rstrip("\r\n")
        if text.strip() and not text.startswith("#"):
            yield absolute(text, base=base)


def _csv(path: Path) -> Iterator[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        if "uri" not in (rows.fieldnames or ()):
            raise DataError(f"{path}: no column uri")
        for row in rows:
            yield _address(path, rows.line_num, row.get("uri"))


def _jsonl(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON: {error}") from None
            yield _address(path, number, row.get("uri") if isinstance(row, dict) else None)


def _address(path: Path, line: int, uri: object) -> str:
    if not isinstance(uri, str) or not uri.strip():
        raise DataError(f"{path}, line {line}: uri must be a path or an address, got {uri!r}")
    return absolute(uri.strip(), base=os.path.dirname(path.absolute()))


def _standard_input() -> Iterator[str]:
    return (os.fsdecode(line) for line in sys.stdin.buffer)
