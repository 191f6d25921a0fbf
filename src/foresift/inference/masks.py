"""From the bytes of a mask file to the very numbers that it holds, or to the reason why there are none."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from foresift.core.masks import MaskValues
from foresift.inference.decode import DecodeError, damaged, refuse_bomb, room_for, silence_pillow

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4sIIBB")
"""Length and name of the first chunk, width, height, bit depth, colour type."""
_GREY, _PALETTE = 0, 3


def decode_mask(data: bytes) -> MaskValues:
    """(h, w) values of a grey (1 to 16 bits) or palette PNG, exactly as they are stored.

    Colours of a palette say nothing here: the indices do. Nothing is turned, scaled or laid on white.

    Raises:
        DecodeError: no PNG, one of colours, broken, truncated, or above the size that images may have.
    """
    width, height, depth, colours = _header(data)
    refuse_bomb(width, height)
    if colours not in (_GREY, _PALETTE):
        raise DecodeError("a PNG of colours, expected class numbers: a grey (8 or 16 bit) or palette PNG")
    values = _values(data, width, height)
    # Pillow stretches 2 and 4 bit grey to 0 .. 255 (1 bit becomes booleans); palette indices come as they are.
    return values // (255 // (2**depth - 1)) if colours == _GREY and depth in (2, 4) else values


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type."""
    start = len(_SIGNATURE)
    if not data.startswith(_SIGNATURE):
        raise DecodeError("not a PNG file; masks are PNG files of class numbers, because JPEG changes values")
    if len(data) < start + _HEADER.size:
        raise DecodeError("damaged PNG: it ends in its header")
    _, name, width, height, depth, colours = _HEADER.unpack_from(data, start)
    if name != b"IHDR" or not width or not height or depth not in (1, 2, 4, 8, 16):
        raise DecodeError("damaged PNG: no valid header")
    return width, height, depth, colours


def _values(data: bytes, width: int, height: int) -> MaskValues:
    silence_pillow()
    try:
        with room_for(width, height), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            values = np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's plug-ins raise anything on hostile bytes
        raise damaged("PNG", error) from None
    if values.ndim != 2:
        raise DecodeError("a PNG of colours, expected class numbers")
    return values.astype(np.uint8) if values.dtype == np.bool_ else values
