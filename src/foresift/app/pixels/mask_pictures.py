"""Images under their masks, beside what a model predicts; drawn by Pillow."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from foresift.app.pixels.classes import classes_asked_for
from foresift.app.pixels.images import check_same_size
from foresift.app.pixels.pictures import check_png
from foresift.app.pixels.training_request import SegmentationRequest
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, EmptyPoolError, UsageError
from foresift.core.masks import IGNORED, Mask, MaskClasses, resized
from foresift.core.protocols import Progress, Silent
from foresift.core.ranges import check_at_least
from foresift.core.samples import Quarantined
from foresift.core.segmentation import DenseTransform
from foresift.inference.decode import MAX_PIXELS, decode
from foresift.inference.dense_transform import apply_dense
from foresift.inference.masks import decode_mask
from foresift.sources.read import fetch
from foresift.sources.segmentation import MaskedListing, masked_images
from foresift.stores.files import write_atomically
from foresift.stores.generations import read_segmentation

if TYPE_CHECKING:
    from foresift.models.segmentation import Segmenter

_COLOURS = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
)
"""Of the first classes, by Okabe and Ito 2008: told apart by nearly everyone. Those of later classes are only all
different."""
_GOLDEN = 0.618
"""A turn of the colour circle by this share lands far from all turns before it."""
_OPACITY, _DIMMED = 0.6, 0.45
"""Of a class over the grey image; how bright what is ignored stays."""
_LINE_PX, _GAP_PX, _PAPER, _INK = 16, 4, (255, 255, 255), (40, 40, 40)
_SWATCH_PX = 24
"""Of a legend: a swatch, and the gaps around it and its text."""
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
    """Images, evenly spaced over the listing; one that can't be read gives its place to another."""
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
    """What the listing left out, and images met on the way that can't be drawn."""
    notes: tuple[str, ...]


def draw_masks(workspace: Workspace, what: MaskSheet) -> DrawnMasks:
    """Each image as it is, under its mask and, with a model, under its prediction; a legend below.

    Pixels that are ignored stay grey and dark, in the prediction too. Without a model or names of the classes every
    mask of the set is read once, to see which there are.

    Raises:
        EmptyPoolError: none of the images can be drawn.
        ForesiftError: as for listing images with masks and for opening a model.
    """
    listing = masked_images(what.root, what.split, layout=what.layout)
    painter = _painter(workspace, what, listing)
    drawn: dict[int, tuple[list[Image.Image], DrawnMask]] = {}
    broken = list(listing.quarantined)
    for row in _order(len(listing.images), what.count):
        if len(drawn) == what.count:
            break
        try:
            drawn[row] = painter.drawn(listing, row)
        except DataError as error:
            uri = listing.images[row]
            broken.append(Quarantined(uri=uri, reason=str(error).removeprefix(f"{uri}: ")))
    if not drawn:
        first = broken[0]
        raise EmptyPoolError(f"{listing.name}: no image can be drawn; the first, {first.uri}: {first.reason}")
    rows = [drawn[row] for row in sorted(drawn)]
    names = tuple(painter.classes.classes)
    sheet = _sheet([panels for panels, _ in rows], [_caption(one) for _, one in rows], names, what)
    write_atomically(what.out, lambda target: sheet.save(target, format="PNG"))
    return DrawnMasks(
        path=what.out,
        classes=names,
        images=tuple(one for _, one in rows),
        quarantined=tuple(broken),
        notes=listing.notes,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Painter:
    """What turns an image of a listing into its panels."""

    classes: MaskClasses
    transform: DenseTransform
    network: Segmenter | None
    side: int

    def drawn(self, listing: MaskedListing, row: int) -> tuple[list[Image.Image], DrawnMask]:
        """The panels of an image, fitted into a square, and its figures at its own size.

        Raises:
            DataError: the image or its mask can't be used.
        """
        pixels = decode(fetch(listing.images[row]))
        values, _ = listing.masks[row].read(decode_mask)
        check_same_size(pixels, values)
        truth = self.classes.codes(values)
        counted = truth != IGNORED
        layers, right = [truth], None
        if self.network is not None:
            from foresift.training.segmentation import predicted_codes

            found = predicted_codes(self.network, apply_dense(pixels, self.transform), self.transform, truth.shape)
            right = float((found == truth)[counted].mean())
            layers.append(np.where(counted, found, IGNORED).astype(truth.dtype))
        share = self.side / max(truth.shape)
        height, width = (max(1, round(share * length)) for length in truth.shape)
        small = np.asarray(Image.fromarray(pixels).resize((width, height)))
        panels = [small, *(under_mask(small, resized(layer, height, width)) for layer in layers)]
        figures = DrawnMask(listing.images[row], float(counted.mean()), right)
        return [Image.fromarray(panel) for panel in panels], figures


def _painter(workspace: Workspace, what: MaskSheet, listing: MaskedListing) -> _Painter:
    asked = SegmentationRequest(
        model=what.model,
        out=what.out,
        classes=what.classes,
        ignore_index=what.ignore_index,
        progress=what.progress,
    )
    if not what.model:
        classes = classes_asked_for(listing, asked, held=None)
        return _Painter(classes=classes, transform=DenseTransform(), network=None, side=what.side)
    from foresift.models.segmentation_generations import load_segmenter

    folder = workspace.generation_folder(what.model)
    held = read_segmentation(folder)
    classes = classes_asked_for(listing, asked, held=held)
    return _Painter(classes=classes, transform=held.transform, network=load_segmenter(folder, held), side=what.side)


def _order(n: int, count: int) -> list[int]:
    """All rows: first so many evenly spaced ones, the first and the last among them, then the others."""
    first = np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int)).tolist()
    return [*first, *sorted(set(range(n)) - set(first))] if n else []


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
    high, wide = tall + _LINE_PX, len(rows[0]) * (what.side + _GAP_PX) + 2 * _GAP_PX
    width, top = columns * wide, math.ceil(len(rows) / columns) * high
    write = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    panels_are = "image | mask" + (" | model" if len(rows[0]) == _PANELS else "")
    entries = [_short(write, text, width - _SWATCH_PX) for text in (panels_are, *map(_readable, classes))]
    places, below = _legend([write.textlength(entry) for entry in entries], width)
    if width * (top + below) > MAX_PIXELS:
        raise UsageError(
            f"a sheet of {len(rows)} images would have {width} x {top + below} pixels; give a smaller --size"
        )
    sheet = Image.new("RGB", (width, top + below), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for at, (panels, caption) in enumerate(zip(rows, captions, strict=True)):
        row, column = divmod(at, columns)
        left = column * wide + _GAP_PX
        draw.text((left, row * high + tall), _short(draw, _readable(caption), wide - _GAP_PX), fill=_INK)
        for number, panel in enumerate(panels):
            sheet.paste(panel, (left + number * (what.side + _GAP_PX), row * high + tall - panel.height))
    for code, (entry, (left, line)) in enumerate(zip(entries, places, strict=True), start=-1):
        if code >= 0:
            draw.rectangle((left, top + line + 3, left + 10, top + line + 13), fill=colour_of(code))
        draw.text((left + (14 if code >= 0 else 0), top + line + 2), entry, fill=_INK)
    return sheet


def _readable(text: str) -> str:
    """A text in letters that Pillow's own font has; another letter is a question mark."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _short(draw: ImageDraw.ImageDraw, text: str, width: float) -> str:
    """A text, cut where it would be wider."""
    if draw.textlength(text) <= width:
        return text
    kept = next((at for at in range(len(text), 0, -1) if draw.textlength(text[:at] + "...") <= width), 0)
    return text[:kept] + "..."


def _legend(widths: list[float], width: int) -> tuple[list[tuple[int, int]], int]:
    """Where texts of these widths stand below the images, and the height of it all."""
    places, left, line = [], _GAP_PX, 0
    for one in widths:
        wide = _SWATCH_PX + math.ceil(one)
        if left > _GAP_PX and left + wide > width:
            left, line = _GAP_PX, line + _LINE_PX
        places.append((left, line))
        left += wide
    return places, line + _LINE_PX + _GAP_PX
