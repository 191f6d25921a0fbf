"""Masks that come back from labeling: painted into masks of whole images, everything else ignored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foresift.app.chosen import Chosen, read_chosen
from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.masks import MAX_VALUE, MaskValues
from foresift.core.regions import Region
from foresift.inference.decode import decode
from foresift.inference.masks import decode_mask
from foresift.sources.read import fetch
from foresift.stores.files import disk_errors, write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of returned masks."""

    out: Path
    """``images/`` and ``masks/``, as ``foresift train`` takes them."""
    images: int
    regions: int
    """Picks that have a mask now."""
    missing: int
    """Picks that have none yet."""


def import_masks(selection: Path, folder: Path, out: Path, *, ignored: int = 255) -> Imported:
    """Paint every returned mask into the mask of its image below ``out``; images are linked to, not copied.

    A file is named like the crop that was exported, and is as large as the region; or like its image, and is as
    large as that. Masks of earlier rounds in ``out`` stay, and are painted over where regions meet.

    Args:
        folder: PNG files of class numbers.
        ignored: the value of pixels that nobody labeled.
    Raises:
        LabelError: a file that belongs to no pick, or not one file.
        DataError: a mask of another size, or one that can't be read; nothing is written for its image.
    """
    if not 0 <= ignored <= MAX_VALUE:
        raise UsageError(f"the ignored value must be within 0 .. {MAX_VALUE}, got {ignored}")
    picks = read_chosen(selection)
    files = _files(folder)
    of = _owners(picks, files, folder)
    painted = 0
    for uri, own in of.items():
        _paint(uri, own, out, ignored)
        painted += len(own)
    return Imported(out=out, images=len(of), regions=painted, missing=len(picks) - painted)


def _files(folder: Path) -> dict[str, Path]:
    with disk_errors(folder):
        files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".png"}
    if not files:
        raise LabelError(f"{folder} holds no PNG file; expected one mask for each crop or image of the selection")
    return files


def _owners(picks: tuple[Chosen, ...], files: dict[str, Path], folder: Path) -> dict[str, list[tuple[Chosen, Path]]]:
    """Each image's picks that have a mask, with its file.

    Raises:
        LabelError: a file that belongs to none of them.
    """
    stems: dict[str, set[str]] = defaultdict(set)
    for pick in picks:
        stems[Path(pick.uri).stem].add(pick.uri)
    used: set[str] = set()
    found: dict[str, list[tuple[Chosen, Path]]] = defaultdict(list)
    for pick in picks:
        stem = Path(pick.uri).stem
        names = [pick.name, pick.image_name, *([stem] if len(stems[stem]) == 1 else [])]
        if name := next((name for name in names if name in files), None):
            found[pick.uri].append((pick, files[name]))
            used.add(name)
    if unknown := [name for name in files if name not in used]:
        raise LabelError(f"{folder / files[unknown[0]].name} belongs to no pick of the selection; nothing was written")
    return found


def _paint(uri: str, own: list[tuple[Chosen, Path]], out: Path, ignored: int) -> None:
    height, width = decode(fetch(uri)).shape[:2]
    target = out / "masks" / f"{own[0][0].image_name}.png"
    mask = _begun(target, height, width, ignored)
    for pick, file in own:
        region = pick.region or Region(0, 0, width, height)
        left, top, right, lower = region.box
        mask[top:lower, left:right] = _values(file, region, height, width)
    kind = np.uint8 if mask.max() <= np.iinfo(np.uint8).max else np.uint16
    image = Image.fromarray(mask.astype(kind))
    write_atomically(target, lambda path: image.save(path, format="PNG"))
    _link(Path(uri), out / "images" / f"{target.stem}{Path(uri).suffix}")


def _begun(target: Path, height: int, width: int, ignored: int) -> MaskValues:
    """The mask so far; nothing labeled where there is none."""
    if not target.is_file():
        return np.full((height, width), ignored, dtype=np.int64)
    mask = decode_mask(target.read_bytes()).astype(np.int64)
    if mask.shape != (height, width):
        raise DataError(f"{target} is of another size than its image; choose a new --out")
    return mask


def _values(file: Path, region: Region, height: int, width: int) -> MaskValues:
    """(region) values from a mask of the region or of the whole image.

    Raises:
        DataError: neither size.
    """
    try:
        values = decode_mask(fetch(str(file)))
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    if values.shape == (region.height, region.width):
        return values
    if values.shape == (height, width):
        left, top, right, lower = region.box
        return values[top:lower, left:right]
    came = f"{values.shape[1]} x {values.shape[0]}"
    raise DataError(
        f"{file} is {came} pixels; expected {region.width} x {region.height}, or the image's {width} x {height}"
    )


def _link(image: Path, name: Path) -> None:
    """``name`` leads to the image; one that is there already is left alone."""
    with disk_errors(name):
        name.parent.mkdir(parents=True, exist_ok=True)
        if not name.is_symlink() and not name.exists():
            name.symlink_to(image.absolute())
