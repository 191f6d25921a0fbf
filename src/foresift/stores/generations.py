"""Generation folders, read without torch."""

from __future__ import annotations

from pathlib import Path

from foresift.core.errors import ModelError
from foresift.core.generations import Generation
from foresift.stores.files import read_json

RECORD = "generation.json"
WEIGHTS = "model.safetensors"


def is_generation(folder: Path) -> bool:
    """Whether a folder holds a generation record."""
    return (folder / RECORD).is_file()


def read_generation(folder: Path) -> Generation:
    """The record of a generation folder; weights are not read.

    Raises:
        ModelError: no such folder, no record, or weights missing beside it.
    """
    if not folder.is_dir():
        raise ModelError(
            f"no generation folder at {folder}; train one with: foresift train DATA --model NAME --out DIR"
        )
    if not is_generation(folder):
        raise ModelError(f"{folder} holds no {RECORD}; a generation is a folder that foresift train has written")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} holds no {WEIGHTS}; its weights are missing")
    return Generation.from_dict(read_json(folder / RECORD))
