"""Lists of members as JSON, and what members have said as one ``.npz`` file, whole or absent."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from foresift.core.ensembles import Ensemble, Spoken
from foresift.core.errors import DataError, ForesiftError, ModelError
from foresift.stores.files import disk_errors, read_json, write_atomically, write_json

LIST = "ensemble.json"


def ensemble_file(spec: str | Path) -> Path | None:
    """The list of members behind a folder or file; None where it is no ensemble."""
    path = Path(spec).expanduser()
    if path.is_dir():
        path = path / LIST
        return path if path.is_file() else None
    if path.suffix != ".json" or not path.is_file():
        return None
    plain = read_json(path)
    return path if isinstance(plain, dict) and plain.get("kind") == "ensemble" else None


def read_ensemble(path: Path) -> Ensemble:
    """The list of a file.

    Raises:
        ModelError: it is no list of members, or it was changed.
    """
    plain: Any = read_json(path)
    try:
        return Ensemble.from_dict(plain if isinstance(plain, dict) else {})
    except ForesiftError as error:
        raise ModelError(f"{path}: {error}") from None


def write_ensemble(path: Path, ensemble: Ensemble) -> None:
    """Write a list whole."""
    write_json(path, ensemble.to_dict())


def write_spoken(path: Path, spoken: Spoken) -> None:
    """Write what members have said; a reader sees the old file or the new one."""
    about = json.dumps({"members": spoken.members, "classes": spoken.classes})
    arrays = {"ids": spoken.sample_ids, "state": spoken.state, "about": np.array(about)}

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def read_spoken(path: Path) -> Spoken:
    """What a file holds.

    Raises:
        DataError: torn, or another kind of file.
    """
    with disk_errors(path):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                about = json.loads(str(kept["about"]))
                ids, state = kept["ids"], kept["state"]
            return Spoken(sample_ids=ids, state=state, members=tuple(about["members"]), classes=tuple(about["classes"]))
        except (ValueError, KeyError, EOFError, TypeError, ForesiftError, zipfile.BadZipFile) as error:
            what = "not a whole file of what members have said"
            raise DataError(f"{path}: {what} ({error}); delete it and make it again") from None
