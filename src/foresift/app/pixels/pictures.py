"""Pictures of what a model is unsure of, and of what was chosen; drawn by Pillow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from foresift.app.pixels.models import open_dense
from foresift.app.selecting.chosen import Chosen, by_image, read_chosen
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, UsageError
from foresift.core.ranges import check_at_least, check_one_of, check_within
from foresift.core.regions import Region, regions_of
from foresift.inference.decode import MAX_PIXELS, decode
from foresift.inference.dense_columns import PatchGrid, dense_scorer
from foresift.kernels.patch_grid import cells_of, check_patch, patches_of
from foresift.kernels.topk import top_k
from foresift.scores.dense import PIXEL_SCORES
from foresift.sources.read import fetch
from foresift.stores.files import write_atomically

LONGEST_PX = 2048
"""Larger images are drawn smaller."""
_STOPS = (0.0, 0.25, 0.5, 0.75, 1.0)
_RAMP = ((20, 20, 60), (60, 40, 140), (190, 50, 90), (245, 140, 40), (255, 245, 160))
"""Dark and cold is sure, bright and warm is unsure; each step is lighter than the one before."""
_GRID, _CHOSEN, _PAPER, _INK = (255, 255, 255, 70), (0, 255, 200, 255), (255, 255, 255), (40, 40, 40)
_LINE_PX = 16
"""Height of a line of text below an image of a contact sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """What to draw of one image."""

    image: str
    model: str
    out: Path
    score: str = "entropy"
    patch: int = 64
    top: int = 4
    """So many of the most informative patches are framed."""
    selection: Path | None = None
    """Frame what this file names of the image instead."""
    opacity: float = 0.55

    def __post_init__(self) -> None:
        check_one_of(PIXEL_SCORES, score=self.score)
        check_patch(self.patch)
        check_at_least(0, top=self.top)
        check_within(0, 1, opacity=self.opacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture, and the figures in it."""

    path: Path
    mean: float
    """Of the score over the image's pixels."""
    largest: float
    framed: tuple[tuple[Region, float], ...]
    """Chosen patches and the mean of the score in each."""


def draw_heatmap(workspace: Workspace, what: Heatmap) -> Drawn:
    """The image under a map of the score, with the grid of patches and the chosen ones framed.

    Colours run from 0 to the largest value in the image.

    Raises:
        UsageError: the selection names nothing of this image.
        ForesiftError: as for opening the model and decoding the image.
    """
    check_png(what.out)
    model = open_dense(workspace, what.model)
    pixels = _decoded(what.image)
    framed = None if what.selection is None else _regions_of(what.selection, what.image)
    maps = dense_scorer(model.subject(), PatchGrid()).maps(pixels)
    values = maps[PIXEL_SCORES.index(what.score)]
    if framed is None:
        framed = most_informative(values, patch=what.patch, top=what.top)
    picture = overlay(pixels, values, opacity=what.opacity)
    _frame(picture, pixels.shape[:2], what.patch, framed)
    write_atomically(what.out, lambda target: picture.save(target, format="PNG"))
    means = tuple((region, float(_part(values, region).mean())) for region in framed)
    return Drawn(path=what.out, mean=float(values.mean()), largest=float(values.max()), framed=means)


def most_informative(values: npt.NDArray[np.floating[Any]], *, patch: int, top: int) -> list[Region]:
    """The patches of largest mean, largest first."""
    means = patches_of(cells_of(values), patch).means.reshape(-1)
    height, width = values.shape
    regions = list(regions_of(height, width, patch))
    return [regions[at] for at in top_k(means, min(top, len(regions))).tolist()]


def overlay(pixels: Pixels, values: npt.NDArray[np.floating[Any]], *, opacity: float) -> Image.Image:
    """A grey image under the colours of its (h, w) values; at most ``LONGEST_PX`` wide or high."""
    height, width = values.shape
    scale = min(1.0, LONGEST_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray(pixels).convert("L").convert("RGB").resize(size)
    return Image.blend(grey, Image.fromarray(coloured(values)).resize(size), opacity)


def coloured(values: npt.NDArray[np.floating[Any]]) -> Pixels:
    """(h, w, 3) colours of (h, w) values from 0 to their largest."""
    share = np.arange(256) / 255
    table = np.stack([np.interp(share, _STOPS, channel) for channel in zip(*_RAMP, strict=True)], axis=1)
    highest = float(values.max(initial=0))
    levels = np.clip(values * (255 / highest), 0, 255) if highest > 0 else np.zeros_like(values)
    colours: Pixels = np.rint(table).astype(np.uint8)[np.rint(levels).astype(np.intp)]
    return colours


def draw_sheet(selection: Path, out: Path, *, columns: int = 8, side: int = 160) -> int:
    """A contact sheet of a selection, in pick order; the number of images on it.

    Raises:
        DataError: no selection, or an image that can't be read.
    """
    check_png(out)
    check_at_least(1, columns=columns)
    check_at_least(16, side=side)
    picks = read_chosen(selection)
    rows = math.ceil(len(picks) / columns)
    width, height = min(columns, len(picks)) * side, rows * (side + _LINE_PX)
    if width * height > MAX_PIXELS:
        raise UsageError(f"a sheet of {len(picks)} images would have {width} x {height} pixels; give a smaller --size")
    sheet = Image.new("RGB", (width, height), _PAPER)
    order = {id(pick): at for at, pick in enumerate(sorted(picks, key=lambda pick: pick.rank))}
    for _, own, pixels in by_image(picks):
        for pick in own:
            row, column = divmod(order[id(pick)], columns)
            _paste(sheet, pick, pixels, column * side, row * (side + _LINE_PX), side)
    write_atomically(out, lambda target: sheet.save(target, format="PNG"))
    return len(picks)


def _paste(sheet: Image.Image, pick: Chosen, pixels: Pixels, left: int, top: int, side: int) -> None:
    part = Image.fromarray(np.ascontiguousarray(pick.part_of(pixels)))
    thumbnail = ImageOps.contain(part, (side - 4, side - 4))
    sheet.paste(thumbnail, (left + (side - thumbnail.width) // 2, top + (side - thumbnail.height) // 2))
    place = "" if pick.region is None else f" at {pick.region.left},{pick.region.top}"
    score = f"  {float(pick.score):.3g}" if pick.score else ""
    ImageDraw.Draw(sheet).text((left + 4, top + side), f"{pick.rank}{place}{score}", fill=_INK)


def _frame(picture: Image.Image, size: tuple[int, ...], patch: int, chosen: list[Region]) -> None:
    """The grid of patches, and frames around the chosen regions."""
    height, width = size
    scale = picture.width / width
    draw = ImageDraw.Draw(picture, "RGBA")
    for region in regions_of(height, width, patch):
        draw.rectangle(_scaled(region, scale), outline=_GRID)
    for region in chosen:
        draw.rectangle(_scaled(region, scale), outline=_CHOSEN, width=max(2, round(picture.width / 300)))


def _scaled(region: Region, scale: float) -> tuple[float, float, float, float]:
    left, top, right, lower = (edge * scale for edge in region.box)
    return left, top, max(left, right - 1), max(top, lower - 1)


def _regions_of(selection: Path, image: str) -> list[Region]:
    """The regions that a selection names of an image.

    Raises:
        UsageError: none.
    """
    address = str(Path(image).absolute())
    found = [pick.region for pick in read_chosen(selection) if pick.uri in (image, address) and pick.region is not None]
    if not found:
        raise UsageError(f"{selection} names no region of {image}")
    return found


def _part(values: npt.NDArray[np.floating[Any]], region: Region) -> npt.NDArray[np.floating[Any]]:
    left, top, right, lower = region.box
    if right > values.shape[1] or lower > values.shape[0]:
        raise DataError(f"region {region} does not lie inside of {values.shape[1]} x {values.shape[0]} pixels")
    return values[top:lower, left:right]


def _decoded(image: str) -> Pixels:
    try:
        return decode(fetch(str(Path(image).absolute())))
    except DataError as error:
        raise DataError(f"{image}: {error}") from None


def check_png(out: Path) -> None:
    """Refuse a picture's path that does not end in .png; raises ``UsageError``."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: pictures are written as .png")
