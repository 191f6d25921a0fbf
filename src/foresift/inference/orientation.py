"""Which way up a camera held the picture: the EXIF orientation, read and applied."""

from __future__ import annotations

import struct

import numpy as np

from foresift.core.arrays import Pixels

UPRIGHT = 1
SIDEWAYS = 5
"""From here on rows and columns change places."""
_ORIENTATION_TAG = 0x0112
_SHORT = 3
_EXIF = b"Exif\0\0"
_JPEG_APP1 = 0xE1
_JPEG_START_OF_SCAN = 0xDA
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}


def of_jpeg(data: bytes) -> int:
    """Orientation 1 .. 8 of a JPEG file; 1 where it does not say."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _JPEG_START_OF_SCAN:
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _JPEG_APP1 and data.startswith(_EXIF, at + 4):
            return of_exif(data[at + 4 : at + 2 + length])
        at += 2 + length
    return UPRIGHT


def of_exif(block: bytes) -> int:
    """Orientation 1 .. 8 of an EXIF block; 1 where it does not say or is damaged.

    Damage is no error: viewers show such pictures unturned, and so do people who label them.
    """
    tiff = block.removeprefix(_EXIF)
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
            if tag == _ORIENTATION_TAG and kind == _SHORT:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """The picture as it should be seen, from (h, w, 3) pixels as stored; EXIF 2.3, tag 0x0112.

    The values 5 .. 8 swap the sides: they are 1 .. 4 with rows and columns exchanged.
    """
    if orientation == UPRIGHT:
        return pixels
    turned = pixels.swapaxes(0, 1) if orientation >= SIDEWAYS else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
