"""Engine choices on disk: a JSON record and the sample's logits beside it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from foresift.stores.files import write_atomically


def write_choice(path: Path, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Keep a record and its arrays in one ``.npz`` file, whole or not at all."""
    text = np.frombuffer(json.dumps(record, sort_keys=True).encode(), dtype=np.uint8)
    named: dict[str, Any] = {f"array/{name}": values for name, values in arrays.items()}

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.savez(file, record=text, **named)

    write_atomically(path, write)


def read_choice(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
    """Record and arrays, or None if there is none or it is damaged: a choice is cheap to make again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            record = json.loads(stored["record"].tobytes())
            arrays = {key.removeprefix("array/"): stored[key] for key in stored.files if key != "record"}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None
    return record, arrays
