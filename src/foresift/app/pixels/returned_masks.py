"""Masks that come back from labeling: painted into masks of whole images, everything else ignored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foresift.app.pixels.classes import class_list
from foresift.app.pixels.learned import keep_receipts, refuse_other_receipts
from foresift.app.selecting.chosen import Chosen, mask_classes_of, model_of, read_chosen, receipt_of
from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.masks import MAX_VALUE, MaskClasses, MaskValues
from foresift.core.regions import Region
from foresift.inference.decode import decode
from foresift.inference.masks import decode_mask
from foresift.sources.read import fetch
from foresift.sources.segmentation import CLASSES_FILE, classes_beside
from foresift.stores.files import disk_errors, write_atomically, write_json


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
    classes: MaskClasses | None
    """What the values mean, as ``classes.json`` beside the masks says; None where nobody has said so."""
    model: Mapping[str, Any]
    """What the receipt says of the model that chose; empty if none did."""


def import_masks(selection: Path, folder: Path, out: Path, *, ignored: int = 255, classes: str = "") -> Imported:
    """Paint every returned mask into the mask of its image below ``out``; images are linked to, not copied.

    A file is named like the crop that was exported, and is as large as the region; or like its image, and is as
    large as that. Masks of earlier rounds in ``out`` stay, and are painted over where regions meet. The classes of
    the model that chose, or those that are given, go with the masks as ``classes.json``, so that what is trained
    on them reads other masks of the same classes too; ``receipts.csv`` says which selection each was drawn for.

    Args:
        folder: PNG files of class numbers.
        ignored: the value of pixels that nobody labeled.
        classes: of a selection that no segmentation model made: a file of names, a number, or names with commas.
    Raises:
        UsageError: the ignored value is a class, or classes that contradict the model's.
        LabelError: a file that belongs to no pick, or not one file.
        DataError: a mask of another size, or one that can't be read; nothing is written for its image. A file
            ``receipts.csv`` of another kind in ``out``.
    """
    if not 0 <= ignored <= MAX_VALUE:
        raise UsageError(f"the ignored value must be within 0 .. {MAX_VALUE}, got {ignored}")
    refuse_other_receipts(out)
    picks, model = read_chosen(selection), model_of(selection)
    known = _classes(out, mask_classes_of(model), classes, ignored)
    files = _files(folder)
    of = _owners(picks, files, folder)
    drawn: dict[str, str] = {}
    for uri, own in of.items():
        image = _paint(uri, own, out, ignored)
        drawn |= {pick.id: image for pick, _ in own}
    keep_receipts(out, drawn, receipt_of(selection))
    if known is not None:
        write_json(out / CLASSES_FILE, asdict(known))
    return Imported(
        out=out, images=len(of), regions=len(drawn), missing=len(picks) - len(drawn), classes=known, model=model
    )


def _classes(out: Path, of_model: MaskClasses | None, asked: str, ignored: int) -> MaskClasses | None:
    """What the values mean: to the model that chose, as asked, or as it was in earlier rounds.

    Raises:
        UsageError: the value of unlabeled pixels is a class.
        LabelError: other classes than those of earlier rounds.
    """
    if asked and of_model is not None:
        raise UsageError("the model that chose brings its classes; leave --classes out")
    known, before = of_model, classes_beside(out)
    if asked:
        known = MaskClasses.numbered(class_list(asked), ignored=(ignored,))
    if known is None:
        return before
    if ignored in known.values:
        name = known.classes[known.values.index(ignored)]
        raise UsageError(f"--ignore-index {ignored} is the class {name!r}; choose a value that is none")
    if before is not None and (before.classes, before.values) != (known.classes, known.values):
        raise LabelError(f"{out} holds masks of other classes ({', '.join(before.classes[:5])}); choose a new --out")
    earlier = () if before is None else before.ignored
    return replace(known, ignored=tuple(sorted({*known.ignored, *earlier, ignored})))


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


def _paint(uri: str, own: list[tuple[Chosen, Path]], out: Path, ignored: int) -> str:
    """Where the image lies below ``out``, once the masks of its picks are in the mask beside it."""
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
    name = f"images/{target.stem}{Path(uri).suffix}"
    _link(Path(uri), out / name)
    return name


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
