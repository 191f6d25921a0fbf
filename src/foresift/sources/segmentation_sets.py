"""Cityscapes, Pascal VOC and ADE20K as their archives unpack them."""

from __future__ import annotations

from pathlib import Path, PurePath

from foresift.core.errors import DataError, MissingPathError
from foresift.core.masks import MaskClasses
from foresift.sources.read import fetch
from foresift.sources.segmentation import Layout, MaskedListing, files_in, paired, part_of

_CITYSCAPES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The 19 classes that are evaluated and their label ids; Cordts et al. 2016, *The Cityscapes Dataset*."""
CITYSCAPES_CLASSES = MaskClasses(
    classes=tuple(_CITYSCAPES),
    values=tuple(_CITYSCAPES.values()),
    # 255 is the licence plate, whose id is -1.
    ignored=tuple(value for value in (*range(34), 255) if value not in _CITYSCAPES.values()),
)
_VOC = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
VOC_CLASSES = MaskClasses(classes=_VOC, values=tuple(range(21)), ignored=(255,))
"""Everingham et al. 2010, *The Pascal VOC Challenge*: 20 classes of objects; 255 is drawn around each object."""
_ADE20K_CLASSES = 150
_ADE20K_NAMES = "objectInfo150.txt"


def _cityscapes(root: Path, split: str) -> MaskedListing:
    images = part_of(root / "leftImg8bit", split)
    masks = root / "gtFine" / split

    def mask_of(image: str) -> str:
        below = PurePath(image).relative_to(images)
        return str(masks / below.with_name(below.name.replace("_leftImg8bit", "_gtFine_labelIds")))

    found = files_in(images)
    return paired(str(images), found.uris, mask_of, classes=CITYSCAPES_CLASSES, broken=found.quarantined)


def _voc(root: Path, split: str) -> MaskedListing:
    lists = root / "ImageSets" / "Segmentation"
    known = sorted(path.stem for path in lists.glob("*.txt"))
    if split and split not in known:
        raise MissingPathError(f"{lists} has no split {split!r} (has: {', '.join(known) or 'none'})")
    if not split and known:
        raise MissingPathError(f"{lists} has the splits {', '.join(known)}; choose one with --split")
    masks = root / "SegmentationClass"
    stems = _lines(lists / f"{split}.txt") if split else sorted(path.stem for path in masks.glob("*.png"))
    images = [str(root / "JPEGImages" / f"{stem}.jpg") for stem in stems]
    name = str(lists / f"{split}.txt" if split else masks)
    return paired(name, images, lambda image: str(masks / f"{PurePath(image).stem}.png"), classes=VOC_CLASSES)


def _ade20k(root: Path, split: str) -> MaskedListing:
    images = part_of(root / "images", split)
    masks = root / "annotations" / split

    def mask_of(image: str) -> str:
        return str(masks / PurePath(image).relative_to(images).with_suffix(".png"))

    found = files_in(images)
    return paired(str(images), found.uris, mask_of, classes=_ade20k_classes(root), broken=found.quarantined)


def _ade20k_classes(root: Path) -> MaskClasses:
    """The 150 classes, 1 .. 150 in the files; named by the set's own table, where it lies in the root."""
    names = [str(value) for value in range(1, _ADE20K_CLASSES + 1)]
    table = root / _ADE20K_NAMES
    if table.is_file():
        rows = [line.split("\t") for line in _lines(table)[1:]]
        if len(rows) != _ADE20K_CLASSES or not all(len(row) > 1 for row in rows):
            raise DataError(f"{table}: expected a heading and {_ADE20K_CLASSES} lines, the last column being names")
        names = [row[-1].strip() for row in rows]
    return MaskClasses(classes=tuple(names), values=tuple(range(1, _ADE20K_CLASSES + 1)), ignored=(0,))


def _lines(path: Path) -> list[str]:
    """The lines of a text file that hold something."""
    try:
        text = fetch(str(path)).decode()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


CITYSCAPES = Layout(
    name="cityscapes",
    marks=lambda root: (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir(),
    read=_cityscapes,
    looks="leftImg8bit/<split>/ and gtFine/<split>/ (Cityscapes)",
    images="leftImg8bit",
)
VOC = Layout(
    name="voc",
    marks=lambda root: (root / "JPEGImages").is_dir() and (root / "SegmentationClass").is_dir(),
    read=_voc,
    looks="JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/<split>.txt (Pascal VOC)",
    images="JPEGImages",
)
ADE20K = Layout(
    name="ade20k",
    marks=lambda root: (root / "images").is_dir() and (root / "annotations").is_dir() and not _has_json(root),
    read=_ade20k,
    looks="images/<split>/ and annotations/<split>/ (ADE20K)",
    images="images",
    annotations="annotations",
)


def _has_json(root: Path) -> bool:
    return any((root / "annotations").glob("*.json"))
