"""What ``foresift label`` shows a person, and where the answers go."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foresift.app.selecting.receipts import read_receipt
from foresift.core.errors import DataError, EmptyPoolError, MissingPathError, UsageError
from foresift.core.labels import CANNOT_TELL
from foresift.core.queries import Receipt
from foresift.core.regions import Region, split_id
from foresift.cycle.labels import spelled_value
from foresift.sources.labels import read_labels
from foresift.stores.files import write_atomically
from foresift.stores.sheets import LabelSheet


class Board(Protocol):
    """Where the answers of one person stand; each is kept before ``put`` returns."""

    @property
    def takes_back(self) -> bool:
        """Whether ``put`` with "" makes an answered image open again."""

    def answers(self) -> Sequence[str]:
        """(n,) what stands now, whoever said it; "" = open."""

    def put(self, row: int, value: str, *, seen: str) -> str:
        """Answer if nobody else did since the person looked; gives what stands now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image to label."""

    id: str
    uri: str
    """An address; the only thing that is ever read."""
    rank: str
    score: str
    """"" where it has none."""
    why: str
    """Why it was chosen."""

    @property
    def region(self) -> Region | None:
        """The part of the image that is meant; None = all of it."""
        return split_id(self.id)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeling:
    """n images to label, by classes."""

    name: str
    """What is labeled, for a title."""
    shown: tuple[Shown, ...]
    classes: tuple[str, ...]
    board: Board
    kept: str
    """Where the labels go, in words."""
    next_command: str
    """What to run once everything is labeled."""
    annotator: str = ""
    notes: tuple[str, ...] = ()


def label_selection(
    selection: Path, *, classes: Sequence[str] = (), annotator: str = "", out: Path | None = None
) -> Labeling:
    """The labeling of a selection file; labels go into its label column.

    Args:
        classes: what a label may be; () = those of the model that chose and of the labels in the file.
        annotator: is written beside each label, in a column of its own; "" = nobody is named.
        out: fill in this copy instead. It is made if it does not exist.
    Raises:
        MissingPathError: no such file.
        UsageError: no classes are given and none are known.
        DataError: not a selection file, or a row without an address.
    """
    if not selection.is_file():
        raise MissingPathError(f"no file {selection}; give the file that foresift select --out wrote")
    file = selection if out is None else _copied(selection, out)
    sheet = LabelSheet(file, annotator=annotator)
    receipt, notes = _receipt(selection)
    shown = _shown(sheet, receipt)
    return Labeling(
        name=file.name,
        shown=shown,
        classes=checked_classes(classes or _known_classes(receipt), said=sheet.answers()),
        board=sheet,
        kept=f"column label of {file}",
        next_command=_train_command(file, receipt, shown),
        annotator=annotator,
        notes=notes,
    )


def checked_classes(classes: Sequence[str], *, said: Sequence[str] = ()) -> tuple[str, ...]:
    """Distinct class names: the given ones, then those that are in use already.

    Raises:
        UsageError: fewer than two; a name that is no class.
    """
    names = [name.strip() for name in classes]
    if CANNOT_TELL in names:
        raise UsageError(f"{CANNOT_TELL} is what a person says of no class; leave it out of --classes")
    used = sorted({label for label in said if label and spelled_value(label) != CANNOT_TELL})
    every = tuple(dict.fromkeys(name for name in (*names, *used) if name))
    if len(every) < 2:
        raise UsageError(
            f"expected two classes or more, got {', '.join(every) or 'none'}; give their names with --classes cat,dog"
        )
    return every


def _copied(selection: Path, out: Path) -> Path:
    """The copy of a selection that is filled in; the one that lies there already if it names the same samples."""
    if out.suffix.lower() != selection.suffix.lower():
        raise UsageError(f"--out {out}: expected a file ending in {selection.suffix}, as {selection} does")
    if not out.exists():
        _copy(selection, out)
        if _beside(selection).is_file():
            _copy(_beside(selection), _beside(out))
    elif read_labels(out).ids != read_labels(selection).ids:
        raise UsageError(f"--out {out} names other samples than {selection}; choose another file")
    return out


def _copy(source: Path, target: Path) -> None:
    def write(whole: Path) -> None:
        shutil.copyfile(source, whole)

    write_atomically(target, write)


def _beside(selection: Path) -> Path:
    return selection.with_name(selection.name + ".receipt.json")


def _receipt(selection: Path) -> tuple[Receipt | None, tuple[str, ...]]:
    """The receipt of a selection if there is one; it only tells why something was chosen."""
    file = _beside(selection)
    if not file.is_file():
        return None, ()
    try:
        return read_receipt(file), ()
    except DataError as error:
        return None, (f"{error}; why each image was chosen is not shown",)


def _known_classes(receipt: Receipt | None) -> tuple[str, ...]:
    return () if receipt is None else tuple(receipt.model.get("classes", ()))


def _shown(sheet: LabelSheet, receipt: Receipt | None) -> tuple[Shown, ...]:
    table = read_labels(sheet.path)
    if not len(table):
        raise EmptyPoolError(f"{table.path} names no image")
    lacking = next((row for row, uri in enumerate(table.uris) if not uri), None)
    if lacking is not None:
        raise DataError(
            f"{table.path}, line {table.places[lacking]}: no uri, so there is no image to show;"
            " give a selection from a pool of images"
        )
    twice = next((sample for sample in table.ids if sample and table.ids.count(sample) > 1), None)
    if twice is not None:
        raise DataError(f"{table.path}: sample {twice!r} has two rows; keep one")
    columns = zip(table.ids, table.uris, *(sheet.texts(name) for name in ("rank", "score", "arm")), strict=True)
    return tuple(
        Shown(id=sample or uri, uri=uri, rank=rank or str(row), score=_figure(score), why=_why(arm, receipt))
        for row, (sample, uri, rank, score, arm) in enumerate(columns, start=1)
    )


def _figure(score: str) -> str:
    try:
        return f"{float(score):.4g}"
    except ValueError:
        return score


def _why(arm: str, receipt: Receipt | None) -> str:
    if arm == "control":
        return "drawn at random, to measure with"
    if receipt is None:
        return ""
    ran = receipt.details.get("ran", receipt.strategy)
    return f"{ran}: {receipt.details['why']}" if "why" in receipt.details else str(ran)


def _train_command(file: Path, receipt: Receipt | None, shown: Sequence[Shown]) -> str:
    """The command that learns from the labels; none is known for regions of images."""
    if any(one.region is not None for one in shown):
        return ""
    name = "" if receipt is None else str(receipt.pool.get("name", ""))
    pool = shlex.quote(name) if name and Path(name).exists() else "POOL"
    return f"foresift train {pool} --labels {shlex.quote(str(file))} --model NAME --out DIR"
