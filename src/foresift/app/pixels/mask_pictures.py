"""Images under their masks, beside what a model predicts; drawn by Pillow."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from foresift.app.pixels.classes import classes_asked_for, refuse_other_classes
from foresift.app.pixels.images import UsableImages, usable_images
from foresift.app.pixels.pictures import check_png
from foresift.app.pixels.training_request import SegmentationRequest
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.errors import UsageError
from foresift.core.masks import IGNORED, Mask, MaskClasses, resized
from foresift.core.protocols import Progress, Silent
from foresift.core.ranges import check_at_least
from foresift.core.samples import Quarantined
from foresift.core.segmentation import DenseTransform
from foresift.inference.decode import MAX_PIXELS, decode
from foresift.sources.read import fetch
from foresift.sources.segmentation import MaskedListing, masked_images
from foresift.stores.files import write_atomically
from foresift.stores.generations import read_segmentation

if TYPE_CHECKING:
    from foresift.models.segmentation import Segmenter

_COLOURS = (
    (110, 130, 170),
    (230, 140, 20),
    (20, 160, 120),
    (240, 220, 60),
    (90, 180, 240),
    (200, 60, 70),
    (200, 120, 180),
    (120, 90, 200),
    (150, 100, 50),
    (40, 90, 150),
    (170, 210, 70),
    (90, 60, 90),
)
"""Of the first classes: far apart also for those who do not tell red from green."""
_GOLDEN = 0.618
"""A turn of the colour circle by this share lands far from all turns before it."""
_OPACITY, _DIMMED = 0.6, 0.45
"""Of a class over the grey image; how bright what is ignored stays."""
_LINE_PX, _GAP_PX, _PAPER, _INK = 16, 4, (255, 255, 255), (40, 40, 40)
_LETTER_PX = 7
_PANELS = 3
"""Of an image with a prediction: itself, its mask, the prediction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSheet:
    """Which images with masks to draw, and how."""

    root: str
    out: Path
    model: str = ""
    """A segmentation generation whose predictions are drawn beside; "" = masks alone."""
    split: str = ""
    layout: str = "auto"
    classes: str = ""
    """As for training; a model brings its own."""
    ignore_index: tuple[int, ...] | None = None
    count: int = 8
    """Images, evenly spaced over the listing."""
    columns: int = 2
    """Images in a row."""
    side: int = 200
    """Pixels that an image is fitted into."""
    progress: Progress = field(default_factory=Silent)

    def __post_init__(self) -> None:
        check_png(self.out)
        check_at_least(1, count=self.count, columns=self.columns)
        check_at_least(16, side=self.side)
        if self.model and self.classes:
            raise UsageError(f"{self.model} brings its classes; leave --classes out")


class DrawnMask(NamedTuple):
    """One image of a sheet."""

    uri: str
    labeled: float
    """Share of its pixels that count."""
    right: float | None
    """Share of these that the model names as the mask does; None without a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnMasks:
    """A sheet, and the figures on it."""

    path: Path
    classes: tuple[str, ...]
    images: tuple[DrawnMask, ...]
    quarantined: tuple[Quarantined, ...]


def draw_masks(workspace: Workspace, what: MaskSheet) -> DrawnMasks:
    """Each image as it is, under its mask and, with a model, under its prediction; a legend below.

    Pixels that are ignored stay grey and dark, in the prediction too.

    Raises:
        EmptyPoolError: none of the images can be drawn.
        ForesiftError: as for listing images with masks and for opening a model.
    """
    listing = masked_images(what.root, what.split, layout=what.layout)
    network, classes, transform = _model(workspace, what, listing)
    images = usable_images(_spaced(listing, what.count), classes, transform, progress=what.progress)
    names = tuple(classes.classes)
    rows = [_drawn(images, row, network, what.side) for row in range(len(images))]
    sheet = _sheet([panels for panels, _ in rows], [_caption(one) for _, one in rows], names, what)
    write_atomically(what.out, lambda target: sheet.save(target, format="PNG"))
    return DrawnMasks(
        path=what.out, classes=names, images=tuple(one for _, one in rows), quarantined=images.quarantined
    )


def under_mask(pixels: Pixels, codes: Mask) -> Pixels:
    """(h, w, 3) grey pixels in the colours of their (h, w) codes; what is ignored dark and grey."""
    grey = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"), dtype=np.float32)
    colours = np.array([colour_of(code) for code in range(int(codes.max(initial=0)) + 1)], dtype=np.float32)
    mixed = (1 - _OPACITY) * grey + _OPACITY * colours[np.maximum(codes, 0)]
    drawn: Pixels = np.where((codes == IGNORED)[..., None], _DIMMED * grey, mixed).astype(np.uint8)
    return drawn


def colour_of(code: int) -> tuple[int, int, int]:
    """The colour of a class by its code; those of the first hundred are all different."""
    if code < len(_COLOURS):
        return _COLOURS[code]
    red, green, blue = colorsys.hsv_to_rgb(code * _GOLDEN % 1, 0.5 + 0.4 * (code % 2), 0.95 - 0.3 * (code % 3 == 0))
    return round(255 * red), round(255 * green), round(255 * blue)


def _model(
    workspace: Workspace, what: MaskSheet, listing: MaskedListing
) -> tuple[Segmenter | None, MaskClasses, DenseTransform]:
    if not what.model:
        asked = SegmentationRequest(
            model="", out=what.out, classes=what.classes, ignore_index=what.ignore_index, progress=what.progress
        )
        return None, classes_asked_for(listing, asked, held=None), DenseTransform()
    from foresift.models.segmentation_generations import load_segmenter

    folder = workspace.generation_folder(what.model)
    held = read_segmentation(folder)
    refuse_other_classes(listing.classes, held.mask_classes, what.model)
    ignored = tuple(sorted({*held.ignored, *(what.ignore_index or ())}))
    return load_segmenter(folder, held), replace(held.mask_classes, ignored=ignored), held.transform


def _spaced(listing: MaskedListing, count: int) -> MaskedListing:
    """So many images of a listing, the first and the last among them."""
    rows = np.unique(np.linspace(0, len(listing.images) - 1, min(count, len(listing.images))).round().astype(int))
    images, masks = (tuple(part[row] for row in rows) for part in (listing.images, listing.masks))
    return replace(listing, images=images, masks=masks, quarantined=())


def _drawn(images: UsableImages, row: int, network: Segmenter | None, side: int) -> tuple[list[Image.Image], DrawnMask]:
    """The panels of an image, fitted into a square, and its figures at its own size."""
    pixels, truth = decode(fetch(images.images[row])), images.truth(row)
    counted = truth != IGNORED
    small = np.asarray(ImageOps.contain(Image.fromarray(pixels), (side, side)))
    layers, right = [truth], None
    if network is not None:
        from foresift.training.segmentation import predicted_codes

        found = predicted_codes(network, images.pair(row)[0], images.transform, truth.shape)
        right = float((found == truth)[counted].mean())
        layers.append(np.where(counted, found, IGNORED).astype(truth.dtype))
    panels = [small, *(under_mask(small, resized(layer, *small.shape[:2])) for layer in layers)]
    figures = DrawnMask(images.images[row], float(counted.mean()), right)
    return [Image.fromarray(panel) for panel in panels], figures


def _caption(one: DrawnMask) -> str:
    parts = [Path(one.uri).name]
    parts += [f"{one.labeled:.0%} labeled"] if one.labeled < 1 else []
    parts += [f"{one.right:.1%} right"] if one.right is not None else []
    return ", ".join(parts)


def _sheet(
    rows: list[list[Image.Image]], captions: list[str], classes: tuple[str, ...], what: MaskSheet
) -> Image.Image:
    """All panels in a grid, and the legend.

    Raises:
        UsageError: it would be larger than any picture.
    """
    columns = min(what.columns, len(rows))
    tall = max(panel.height for panels in rows for panel in panels)
    high = tall + _LINE_PX
    width = columns * (len(rows[0]) * (what.side + _GAP_PX) + 2 * _GAP_PX)
    panels_are = "image | mask" + (" | model" if len(rows[0]) == _PANELS else "")
    places, below = _legend((panels_are, *classes), width)
    top = math.ceil(len(rows) / columns) * high
    if width * (top + below) > MAX_PIXELS:
        raise UsageError(
            f"a sheet of {len(rows)} images would have {width} x {top + below} pixels; give a smaller --size"
        )
    sheet = Image.new("RGB", (width, top + below), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for at, (panels, caption) in enumerate(zip(rows, captions, strict=True)):
        row, column = divmod(at, columns)
        left = column * (width // columns) + _GAP_PX
        draw.text((left, row * high + tall), caption, fill=_INK)
        for number, panel in enumerate(panels):
            sheet.paste(panel, (left + number * (what.side + _GAP_PX), row * high + tall - panel.height))
    draw.text((places[0][0], top + 2), panels_are, fill=_INK)
    for code, (name, (left, line)) in enumerate(zip(classes, places[1:], strict=True)):
        draw.rectangle((left, top + line + 3, left + 10, top + line + 13), fill=colour_of(code))
        draw.text((left + 14, top + line + 2), name, fill=_INK)
    return sheet


def _legend(classes: tuple[str, ...], width: int) -> tuple[list[tuple[int, int]], int]:
    """Where the classes stand below the images, and the height of it all."""
    places, left, line = [], _GAP_PX, 0
    for name in classes:
        wide = 22 + _LETTER_PX * len(name)
        if left > _GAP_PX and left + wide > width:
            left, line = _GAP_PX, line + _LINE_PX
        places.append((left, line))
        left += wide
    return places, line + _LINE_PX + _GAP_PX
