"""Subsets as JSON files."""

from __future__ import annotations

from pathlib import Path

from foresift.core.errors import DataError
from foresift.core.subsets import Subset
from foresift.stores.files import read_json, write_json


def read_subset(path: Path) -> Subset:
    """The subset of a file.

    Raises:
        StoreError: no such file, or not JSON.
        DataError: another kind of file, or not whole.
    """
    plain = read_json(path)
    try:
        return Subset.from_dict(plain if isinstance(plain, dict) else {})
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write_subset(path: Path, subset: Subset) -> None:
    """Write a subset whole."""
    write_json(path, subset.to_dict())
