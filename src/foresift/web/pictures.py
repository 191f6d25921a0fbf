"""Images as a browser shows them: upright, of a size that fits a screen, regions framed."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from foresift.app.selecting.chosen import check_region
from foresift.core.arrays import Pixels
from foresift.core.regions import Region
from foresift.inference.decode import decode
from foresift.sources.read import fetch

LONGEST_PX = 1600
"""Larger images are shown smaller."""
THUMBNAIL_PX = 112
_TINY_PX = 256
"""Images up to this size are enlarged by whole factors, so that every pixel stays a square."""
_ENLARGED_PX = 1024
_FRAME = (255, 190, 60)
_OUTSIDE = 0.45
"""Brightness of what lies outside of the frame."""


class Picture(NamedTuple):
    """An image file for a browser."""

    data: bytes
    kind: str
    """Its media type."""


def whole(uri: str, region: Region | None = None) -> Picture:
    """The image of an address; a region is framed and all else darkened.

    Raises:
        DataError: it can't be read or decoded, or the region lies outside of it.
    """
    pixels = decode(fetch(uri), min_side=LONGEST_PX if region is None else None)
    if region is None:
        return _encoded(_on_screen(pixels))
    check_region(region, pixels, of=uri)
    return _encoded(_framed(pixels, region))


def part(uri: str, region: Region) -> Picture:
    """The region of an image alone; raises as :func:`whole`."""
    return _encoded(_on_screen(_cut(uri, region)))


def thumbnail(uri: str, region: Region | None = None) -> Picture:
    """The image, or the region of it, in small; raises as :func:`whole`."""
    pixels = decode(fetch(uri), min_side=THUMBNAIL_PX) if region is None else _cut(uri, region)
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return _encoded(_enlarged(image, THUMBNAIL_PX))


def _cut(uri: str, region: Region) -> Pixels:
    pixels = decode(fetch(uri))
    check_region(region, pixels, of=uri)
    left, top, right, lower = region.box
    return np.ascontiguousarray(pixels[top:lower, left:right])


def _on_screen(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.LANCZOS)
    return _enlarged(image, _ENLARGED_PX) if max(image.size) <= _TINY_PX else image


def _enlarged(image: Image.Image, side: int) -> Image.Image:
    factor = max(1, side // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _framed(pixels: Pixels, region: Region) -> Image.Image:
    """The image on screen with a frame around a region, drawn outside of its pixels."""
    height, width = pixels.shape[:2]
    bright = _on_screen(pixels)
    across, down = bright.width / width, bright.height / height
    left, right = round(region.left * across), round((region.left + region.width) * across)
    top, lower = round(region.top * down), round((region.top + region.height) * down)
    shown = np.asarray(bright)
    dark = (shown * _OUTSIDE).astype(np.uint8)
    line = max(2, round(max(bright.size) / 250))
    dark[max(0, top - line) : lower + line, max(0, left - line) : right + line] = _FRAME
    dark[top:lower, left:right] = shown[top:lower, left:right]
    return Image.fromarray(dark)


def _encoded(image: Image.Image) -> Picture:
    """PNG where it is small because it has few colours or pixels, else JPEG of high quality."""
    buffer = io.BytesIO()
    if max(image.size) <= THUMBNAIL_PX or (max(image.size) <= _ENLARGED_PX and _few_colours(image)):
        image.save(buffer, format="PNG", compress_level=1)
        return Picture(buffer.getvalue(), "image/png")
    image.save(buffer, format="JPEG", quality=92, subsampling=0)
    return Picture(buffer.getvalue(), "image/jpeg")


def _few_colours(image: Image.Image) -> bool:
    return image.getcolors(maxcolors=4096) is not None
