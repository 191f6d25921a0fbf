"""From RGB pixels to the square that a model takes; the same in training and in the field."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from foresift.core.arrays import Pixels
from foresift.core.generations import Transform
from foresift.inference.decode import decode

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SPARE = 2
"""A JPEG is decoded at no less than this many times the pixels that the transform needs: the result
is within a few levels of 255 of a full decode, in a third of the time for a 12-megapixel photograph."""


def load(data: bytes, transform: Transform) -> Pixels:
    """(size, size, 3) uint8 from the bytes of an image file; mean and std are left to the engine.

    Raises:
        DecodeError: as :func:`foresift.inference.decode.decode`.
    """
    return apply(decode(data, min_side=decoded_side(transform)), transform)


def apply(pixels: Pixels, transform: Transform) -> Pixels:
    """(size, size, 3) uint8 from (h, w, 3); thread-safe, and Pillow works outside the interpreter lock.

    Pixels that already have the right size come back as they are.
    """
    height, width = pixels.shape[:2]
    size = transform.size
    box = source_box(height, width, transform)
    if box == (0.0, 0.0, float(size), float(size)):
        return pixels
    image = Image.fromarray(pixels).resize((size, size), FILTERS[transform.interpolation], box=box)
    return np.array(image)


def source_box(height: int, width: int, transform: Transform) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what becomes the square.

    For ``crop`` it is the centre square of ``crop_share`` times the shorter side: the same
    as resizing the shorter side to ``size / crop_share`` and cropping, without rounding between.
    """
    if transform.resize == "squash":
        return 0, 0, width, height
    side = min(height, width) * transform.crop_share
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def decoded_side(transform: Transform) -> int:
    """Pixels that both sides of a decoded JPEG keep at least."""
    return _SPARE * shorter_side(transform)


def shorter_side(transform: Transform) -> int:
    """Pixels that the shorter side of a picture must have to be resized without enlarging it."""
    share = transform.crop_share if transform.resize == "crop" else 1.0
    return math.ceil(transform.size / share)
