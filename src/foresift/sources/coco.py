"""COCO's instances as class masks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresift.core.digests import digest_value
from foresift.core.errors import DataError, MissingPathError
from foresift.core.masks import MaskClasses, MaskValues
from foresift.core.samples import Quarantined
from foresift.sources.coco_shapes import Grid, shape_grid
from foresift.sources.read import fetch
from foresift.sources.segmentation import DecodeMask, Layout, MaskedListing

BACKGROUND = "background"
MAX_PIXELS = 178_956_970
"""Of one image, as for files that are decoded."""
_PREFIX = "instances_"


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask that is drawn from the annotations of one image: larger objects first, so that none hides a smaller."""

    height: int
    width: int
    annotations: tuple[Mapping[str, Any], ...]
    background: int

    @property
    def path(self) -> str:
        """It has no file of its own."""
        return ""

    def read(self, decode: DecodeMask) -> tuple[MaskValues, str]:  # noqa: ARG002 -- there is no file to decode
        """The category id of each pixel; crowds count as their category."""
        # Drawn twice, because all shapes of a large image at once may not fit the memory.
        areas = [int(self._grid(one).sum()) for one in self.annotations]
        values = np.full((self.height, self.width), self.background, dtype=np.int32)
        for row in sorted(range(len(areas)), key=lambda row: -areas[row]):
            values[self._grid(self.annotations[row])] = self.annotations[row]["category_id"]
        plain = [[one["category_id"], one["segmentation"]] for one in self.annotations]
        return values, digest_value([self.height, self.width, self.background, plain])

    def _grid(self, annotation: Mapping[str, Any]) -> Grid:
        return shape_grid(annotation["segmentation"], self.height, self.width)


def read_instances(path: Path, folder: Path) -> MaskedListing:
    """The images of an annotation file that lie in ``folder``; one without objects is all background.

    Raises:
        DataError: not such a file.
    """
    images, annotations, categories = _tables(path)
    classes = _classes(categories, path)
    of_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for one in annotations:
        of_image[one.get("image_id")].append(one)
    listed: dict[str, DrawnMask] = {}
    broken: list[Quarantined] = []
    for image in sorted(images, key=lambda one: str(one.get("file_name"))):
        uri = str(folder / str(image.get("file_name")))
        reason = "no such file" if not Path(uri).is_file() else _fault(image, of_image[image.get("id")])
        if reason:
            broken.append(Quarantined(uri=uri, reason=reason))
            continue
        listed[uri] = DrawnMask(image["height"], image["width"], tuple(of_image[image["id"]]), classes.values[0])
    return MaskedListing(
        name=str(path),
        images=tuple(listed),
        masks=tuple(listed.values()),
        classes=classes,
        quarantined=tuple(broken),
    )


def _tables(path: Path) -> list[list[Mapping[str, Any]]]:
    """Images, annotations and categories."""
    try:
        plain = json.loads(fetch(str(path), limit_bytes=4 << 30))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({str(error)[:80]})") from None
    tables = []
    for name in ("images", "annotations", "categories"):
        table = plain.get(name) if isinstance(plain, dict) else None
        if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
            raise DataError(f"{path}: no list of {name}; expected COCO's instances")
        tables.append(table)
    return tables


def _classes(categories: list[Mapping[str, Any]], path: Path) -> MaskClasses:
    """Background first, then the categories by id; background is 0 unless a category has that id."""
    try:
        names = {int(one["id"]): str(one["name"]) for one in categories}
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: categories need an id, a whole number, and a name") from None
    if not names or len(names) != len(categories):
        raise DataError(f"{path}: {'categories share an id' if names else 'no categories'}")
    background = 0 if 0 not in names else max(names) + 1
    ids = sorted(names)
    return MaskClasses(classes=(BACKGROUND, *(names[one] for one in ids)), values=(background, *ids))


def _fault(image: Mapping[str, Any], annotations: list[Mapping[str, Any]]) -> str:
    """Why an image's annotations can't be drawn, or nothing; shapes are looked at when they are drawn."""
    sides = (image.get("height"), image.get("width"))
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return f"its annotations give no size: {sides}"
    if image["height"] * image["width"] > MAX_PIXELS:
        return f"its annotations declare more than {MAX_PIXELS} pixels, the limit"
    if not all("segmentation" in one and isinstance(one.get("category_id"), int) for one in annotations):
        return "an annotation without segmentation or category_id"
    return ""


def _coco(root: Path, split: str) -> MaskedListing:
    folder = root / "annotations"
    known = sorted(path.stem.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*.json"))
    if split not in known:
        wanted = f"no split {split!r}" if split else f"the splits {', '.join(known)}; choose one with --split"
        raise MissingPathError(f"{folder} has {wanted}" + (f" (has: {', '.join(known)})" if split else ""))
    below = next((place for place in (root / split, root / "images" / split) if place.is_dir()), root / "images")
    return read_instances(folder / f"{_PREFIX}{split}.json", below)


COCO = Layout(
    name="coco",
    marks=lambda root: any((root / "annotations").glob(f"{_PREFIX}*.json")),
    read=_coco,
    looks=f"annotations/{_PREFIX}<split>.json and <split>/ (COCO)",
)
