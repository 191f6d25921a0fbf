"""Generation folders, read without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from foresift.core.errors import ModelError, StoreError
from foresift.core.generations import Generation
from foresift.core.segmentation import SEGMENTATION, SegmentationGeneration
from foresift.stores.files import read_json

RECORD = "generation.json"
WEIGHTS = "model.safetensors"

_Record = TypeVar("_Record", Generation, SegmentationGeneration)


def is_generation(folder: Path) -> bool:
    """Whether a folder holds a generation record."""
    return (folder / RECORD).is_file()


def read_generation(folder: Path) -> Generation:
    """The record of a classifier's generation folder; weights are not read.

    Raises:
        ModelError: no such folder, no record, one that was changed, or weights missing beside it.
    """
    return _read_record(_record_of(folder), Generation.from_dict)


def read_segmentation(folder: Path) -> SegmentationGeneration:
    """The record of a segmentation model's folder; weights are not read.

    Raises:
        ModelError: as :func:`read_generation`, or it is no segmentation model.
    """
    return _read_record(_record_of(folder), SegmentationGeneration.from_dict)


def read_any(folder: Path) -> Generation | SegmentationGeneration:
    """The record of a generation of any kind; raises as :func:`read_generation`."""
    return read_segmentation(folder) if is_segmentation(folder) else read_generation(folder)


def generation_id(folder: Path) -> str:
    """The id of a generation of any kind, from its record; raises as :func:`read_generation`."""
    return read_any(folder).id


def displaced(folder: Path, generation: str) -> str:
    """In words, that a folder holds another generation than the one noted there; "" if it holds that one, or none.

    Args:
        generation: the id that was noted; compared with what the record says, which whoever reads it checks.
    """
    try:
        plain = read_json(folder / RECORD) if is_generation(folder) else {}
    except StoreError:
        return ""
    held = str(plain.get("id", generation)) if isinstance(plain, dict) else generation
    return "" if held == generation else f"folder {folder} holds another generation now ({held[:12]})"


def require_same(folder: Path, generation: str) -> Path:
    """The folder that was noted for a generation; that nothing lies there is told by whoever reads it.

    Raises:
        ModelError: another generation has taken its place.
    """
    if taken := displaced(folder, generation):
        raise ModelError(
            f"generation {generation[:12]} is gone: {taken}; if it was moved, foresift generations lineage FOLDER "
            "notes where it lies now"
        )
    return folder


def is_segmentation(folder: Path) -> bool:
    """Whether a generation folder holds a segmentation model."""
    if not is_generation(folder):
        return False
    plain = read_json(folder / RECORD)
    return isinstance(plain, dict) and plain.get("task") == SEGMENTATION


def _record_of(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelError(
            f"no generation folder at {folder}; train one with: foresift train DATA --model NAME --out DIR"
        )
    if not is_generation(folder):
        raise ModelError(f"{folder} holds no {RECORD}; a generation is a folder that foresift train has written")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} holds no {WEIGHTS}; its weights are missing")
    return folder / RECORD


def _read_record(path: Path, parse: Callable[[Any], _Record]) -> _Record:
    plain = read_json(path)
    try:
        generation = parse(plain)
        intact = generation.id == plain.get("id")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except ValueError as error:  # numbers and text that JSON can spell and a digest refuses
        raise ModelError(f"{path}: not a generation record: {error}") from None
    if not intact:
        raise ModelError(f"{path} was changed since it was written; restore it or train again")
    return generation
