"""What a workspace remembers of its generations: where each lies, what it comes from, its labels, its aliases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foresift.core.errors import StoreError
from foresift.core.lineage import Descent
from foresift.stores.files import disk_errors, locked, read_json, write_json

LABEL_COLUMNS = ("id", "uri", "label", "receipt")


class Descents:
    """The folder ``generations`` of a workspace: one file a generation, its labels and the aliases beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, descent: Descent) -> Descent:
        """Keep a generation, or where it lies now if it is known already; gives what is kept.

        What was said first of its labels and its target stays: a repeated training changes nothing.
        """
        path = self._file(descent.generation)
        with locked(self._folder / ".lock"):
            known = self._read(path) if path.is_file() else None
            if known is not None and known.record and (known.at or not descent.at):
                kept = {**known.to_dict(), "folder": descent.folder, "target": known.target or descent.target}
            else:
                kept = descent.to_dict()
            write_json(path, kept)
        return Descent.from_dict(kept)

    def all(self) -> tuple[Descent, ...]:
        """Every generation, the earlier registered first."""
        found = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return tuple(sorted(found, key=lambda one: (one.at, one.generation)))

    def keep_labels(self, generation: str, rows: Sequence[dict[str, Any]]) -> None:
        """Keep what a generation learned from, unless that is kept already."""
        from foresift.stores.tables import write_rows  # needs pyarrow, which whoever only opens a workspace does not

        path = self._labels(generation)
        if not path.is_file():
            write_rows(path, rows, LABEL_COLUMNS)

    def labels(self, generation: str) -> list[dict[str, Any]]:
        """``id, uri, label, receipt`` of what a generation learned from; [] where nothing is kept.

        Raises:
            StoreError: the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._labels(generation)
        if not path.is_file():
            return []
        try:
            with disk_errors(path):
                rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        except pa.ArrowInvalid as error:
            raise StoreError(f"the labels {path} are damaged: {str(error).splitlines()[0]}") from None
        return rows

    def alias(self, name: str) -> list[dict[str, Any]]:
        """Every generation that had an alias, the last one has it now; [] while nobody had it."""
        path = self._alias(name)
        return list(read_json(path)["promotions"]) if path.is_file() else []

    def give_alias(self, name: str, promotion: dict[str, Any], *, seen: int) -> bool:
        """Append a promotion, unless there are others than the ``seen`` ones by now."""
        with locked(self._folder / ".lock"):
            before = self.alias(name)
            if len(before) != seen:
                return False
            write_json(self._alias(name), {"promotions": [*before, promotion]})
        return True

    def _read(self, path: Path) -> Descent:
        plain = read_json(path)
        if not isinstance(plain, dict):
            raise StoreError(f"{path}: not the record of a generation's descent")
        return Descent.from_dict({"generation": path.stem, **plain})

    def _file(self, generation: str) -> Path:
        return self._folder / f"{generation}.json"

    def _labels(self, generation: str) -> Path:
        return self._folder / "labels" / f"{generation}.parquet"

    def _alias(self, name: str) -> Path:
        return self._folder / "aliases" / f"{name}.json"
