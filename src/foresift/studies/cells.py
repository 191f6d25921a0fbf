"""Cells of a study: each a file that is written whole once it is known, so that a study goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from foresift.stores.files import read_json, write_json


class Plain(Protocol):
    """A dataclass of plain values that can be made from them again."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The cell whose ``asdict`` gave ``plain``."""


Cell = TypeVar("Cell", bound=Plain)


def kept_cell(
    path: Path, kind: type[Cell], make: Callable[[], Cell], *, worth: Callable[[Cell], bool] = lambda _: True
) -> Cell:
    """The cell of a file, or a new one, written there if it is worth keeping; both are read from the file.

    Args:
        path: names all that the cell depends on.
        make: takes its time.
        worth: false for an answer that the next call should look for again.
    """
    if not path.exists():
        cell = make()
        if not worth(cell):
            return cell
        write_cell(path, asdict(cell))
    return kind.from_dict(read_json(path))


def write_cell(path: Path, plain: dict[str, Any]) -> None:
    """Write a cell's plain values, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, plain)


def with_tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a cell holds them: what JSON made lists of is tuples again."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
