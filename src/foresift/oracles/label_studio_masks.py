"""Masks that were drawn in Label Studio: brush strokes and polygons, painted into one PNG of class numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from foresift.core.errors import DataError

UNLABELED = 255
"""The value of pixels that nobody drew on."""
_CHANNELS = 4
_WORD = 8
_MOST_PIXELS = 1 << 28


def drawn_mask(result: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> bytes:
    """PNG of (h, w) class numbers, the place of each class in ``classes``; later drawings lie on top.

    Raises:
        DataError: nothing was drawn, a class that is none of these, or a drawing that can't be understood.
    """
    drawn = [one for one in result if _labels(one)]
    if not drawn:
        raise DataError("nothing was drawn")
    if len(classes) > UNLABELED:
        raise DataError(f"masks from Label Studio hold at most {UNLABELED} classes, got {len(classes)}")
    try:
        height, width = int(drawn[0]["original_height"]), int(drawn[0]["original_width"])
        if not 0 < height * width <= _MOST_PIXELS:
            raise ValueError(f"an image of {width} x {height} pixels")
        mask = np.full((height, width), UNLABELED, dtype=np.uint8)
        for one in drawn:
            mask[_area(one, height, width)] = _number(_labels(one)[0], classes)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"a drawing that can't be understood ({type(error).__name__}: {error})") from None
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()


def _labels(one: Mapping[str, Any]) -> list[str]:
    value = one.get("value", {})
    names: list[str] = value.get("brushlabels") or value.get("polygonlabels") or []
    return names


def _number(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise DataError(f"{name!r} is no class of this run (classes: {', '.join(classes[:10])})")
    return list(classes).index(name)


def _area(one: Mapping[str, Any], height: int, width: int) -> npt.NDArray[np.bool_]:
    """(h, w) the pixels of a drawing."""
    if "rle" in one["value"]:
        flat = unpacked(bytes(one["value"]["rle"]), height * width * _CHANNELS)
        return flat.reshape(height, width, _CHANNELS)[..., -1] > 0
    corners = [(x * width / 100, y * height / 100) for x, y in one["value"]["points"]]
    image = Image.new("1", (width, height))
    ImageDraw.Draw(image).polygon(corners, fill=1)
    return np.asarray(image)


def unpacked(data: bytes, count: int) -> npt.NDArray[np.uint8]:
    """(count,) bytes of a run-length code as Label Studio's brush writes it.

    The stream is of bits, the highest of each byte first: the number of values (32), bits a value less 1 (5), four
    lengths less 1 (4 each). Then, until all values are there: 1 if a run follows, 0 for values one by one; which of
    the four lengths its count less 1 has (2); the count; and the value of the run, or the values.

    Raises:
        ValueError: it holds another number of values, or no bytes; or it ends early.
    """
    bits = _Bits(data)
    if (held := bits.take(32)) != count:
        raise ValueError(f"a brush of {held} values, expected {count}")
    if (word := bits.take(5) + 1) != _WORD:
        raise ValueError(f"values of {word} bits, expected {_WORD}")
    sizes = [bits.take(4) + 1 for _ in range(4)]
    out = np.empty(count, dtype=np.uint8)
    at = 0
    while at < count:
        is_run = bits.take(1)
        end = at + 1 + bits.take(sizes[bits.take(2)])
        if end > count:
            raise ValueError("a run is longer than what is left")
        out[at:end] = bits.take(word) if is_run else [bits.take(word) for _ in range(end - at)]
        at = end
    return out


class _Bits:
    """Whole numbers from a stream of bits."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, bits: int) -> int:
        """The next number of so many bits."""
        start, end = self._at, self._at + bits
        if end > 8 * len(self._data):
            raise ValueError("it ends early")
        self._at = end
        window = int.from_bytes(self._data[start // 8 : -(-end // 8)])
        return (window >> (-end % 8)) & ((1 << bits) - 1)
