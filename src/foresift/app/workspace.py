"""The workspace: one folder that holds what Foresift remembers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from foresift.core.errors import ModelError, StoreError, UsageError
from foresift.core.generations import Generation
from foresift.core.lineage import ALIASES, Descent
from foresift.core.protocols import GridStore, PredictionStore, ShardClaims
from foresift.core.records import Records
from foresift.core.segmentation import SegmentationGeneration
from foresift.sources.digest_memory import SqliteDigestMemory
from foresift.stores.claims import FileClaims
from foresift.stores.descents import Descents
from foresift.stores.files import disk_errors, read_json
from foresift.stores.generations import is_generation, read_generation, require_same


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below one home folder; nothing is created before it is needed.

    ``cache`` may be deleted at any time: it only saves work. ``receipts``, ``pools``,
    ``generations`` and ``foresift.sqlite`` are records.
    """

    home: Path
    store: str = ""
    """Address of the predictions, in the place of ``$FORESIFT_STORE_URL``."""
    _held: list[Records] = field(default_factory=list, init=False, repr=False, compare=False)
    """The records, once they were asked for: open as long as this is."""

    @classmethod
    def open(cls, home: Path | str | None = None, *, store: str = "") -> Workspace:
        """The workspace at ``home``, else at ``$FORESIFT_HOME``, else at ``~/.foresift``.

        Args:
            store: where predictions lie: a folder, ``s3://``, ``gs://`` or ``az://``.
        Raises:
            StoreError: the folder can't be made or written.
        """
        path = cls.place(home)
        if path.exists() and not path.is_dir():
            raise StoreError(f"the workspace {path} is a file; give a folder with --home or FORESIFT_HOME")
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise StoreError(f"the workspace {path} can't be written; give another with --home or FORESIFT_HOME")
        return cls(path, store)

    @staticmethod
    def place(home: Path | str | None = None) -> Path:
        """Where :meth:`open` finds or makes the folder."""
        chosen = Path(home or os.environ.get("FORESIFT_HOME") or Path.home() / ".foresift")
        return chosen.expanduser().absolute()

    @property
    def cache(self) -> Path:
        """What can be computed again."""
        return self.home / "cache"

    @property
    def receipts(self) -> Path:
        """One JSON file a selection, named by its id."""
        return self.home / "receipts"

    @property
    def pools(self) -> Path:
        """Pool versions that receipts refer to."""
        return self.home / "pools"

    def predictions(self) -> PredictionStore:
        """The predictions store: at ``$FORESIFT_STORE_URL``, a folder or a bucket, else in the folder.

        Raises:
            UsageError: the address is neither.
            MissingExtraError: Lance is not installed (the base install selects from arrays and files).
        """
        from foresift.stores.predictions import LanceStore

        return LanceStore(self.store_url or self.cache / "predictions")

    def grids(self) -> GridStore:
        """The store of patch grids; raises as :meth:`predictions`."""
        from foresift.stores.grids import LanceGrids

        return LanceGrids(self.cache / "grids")

    def digests(self) -> SqliteDigestMemory:
        """The memory of content digests."""
        return SqliteDigestMemory(self.cache / "digests.sqlite")

    def claims(self, identity: str, shards: int) -> ShardClaims:
        """Claims on the shards of one pass."""
        return FileClaims(self.cache / "claims" / identity, shards)

    def records(self) -> Records:
        """Runs, labels, leases and jobs: in the database at ``$FORESIFT_DATABASE_URL``, else in a file of the folder.

        Opened once for all who ask in this process; closed with the last of them.

        Raises:
            UsageError: the address is none of a PostgreSQL database.
            StoreError: it can't be opened, or a newer Foresift wrote it.
            MissingExtraError: a library is not installed.
        """
        from foresift.stores.records.opening import held_records

        records = held_records(self.home, self.database_url)
        self._held[:] = [records]
        return records

    @property
    def database_url(self) -> str:
        """Address of the database of the records; "" = a file of the folder."""
        return os.environ.get("FORESIFT_DATABASE_URL", "")

    @property
    def store_url(self) -> str:
        """Address of the predictions; "" = in the folder."""
        return self.store or os.environ.get("FORESIFT_STORE_URL", "")

    def choice(self, key: str) -> Path:
        """Where the engine choice of a pool and pass is kept."""
        return self.cache / "engines" / f"{key}.npz"

    def calibration(self, key: str) -> Path:
        """Where the images are named that an engine of whole numbers was calibrated on for a pool and pass."""
        return self.cache / "engines" / f"{key}.calibration.json"

    @property
    def quantised(self) -> Path:
        """Networks in whole numbers, each under what it follows from."""
        return self.cache / "quantised"

    def note_generation(self, generation: Generation | SegmentationGeneration, folder: Path) -> None:
        """Remember where a generation lies, so that its id names it; what is known of its labels stays."""
        record = generation.to_dict()
        self.descents.note(Descent(generation=generation.id, folder=str(folder.absolute()), record=record))

    @property
    def descents(self) -> Descents:
        """What is remembered of generations."""
        return Descents(self.home / "generations")

    def generation_folder(self, spec: str | Path) -> Path:
        """The folder of a generation: a path, an id (or 8 or more of its first characters), or an alias.

        An alias that was given to a generation is that generation's; a folder of the same name is ``./NAME``.

        Raises:
            ModelError: none of them, or another generation lies where that one was.
        """
        if str(spec) in ALIASES and (held := self.descents.alias(str(spec))):
            spec = held[-1]["generation"]
        folder = Path(spec).expanduser()
        if is_generation(folder):
            return folder
        found = sorted((self.home / "generations").glob(f"{spec}*.json")) if _is_id(str(spec)) else []
        if len(found) > 1:
            raise UsageError(f"generation id {spec} is ambiguous: {', '.join(p.stem[:12] for p in found)}")
        if found:
            return require_same(Path(read_json(found[0])["folder"]), found[0].stem)
        if folder.is_dir():
            read_generation(folder)  # says what is missing in it
        if str(spec) in ALIASES:
            raise ModelError(
                f"no generation is {spec} yet: foresift generations promote GENERATION --as {spec} makes one"
            )
        raise ModelError(
            f"no generation {str(spec)!r}: expected a folder written by foresift train, or a generation id"
        )


def place_below(base: Path, store: str | None) -> str:
    """The address of a store as a configuration spells it; relative folders start at ``base``."""
    if store is None:
        return ""
    return store if "://" in store else str(base / Path(store).expanduser())


def _is_id(text: str) -> bool:
    return len(text) >= 8 and all(c in "0123456789abcdef" for c in text)
