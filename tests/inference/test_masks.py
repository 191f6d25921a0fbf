import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foresift.inference.decode import MAX_PIXELS, DecodeError
from foresift.inference.masks import decode_mask


def png(values: np.ndarray[Any, Any], *, depth: int, colours: int, palette: bytes = b"") -> bytes:
    """A PNG file written by hand: (h, w) values of any bit depth, unfiltered."""
    lines = []
    for row in values:
        if depth == 16:
            line = row.astype(">u2").tobytes()
        else:
            bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
            line = np.packbits(bits.ravel()).tobytes()
        lines.append(b"\0" + line)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colours, 0, 0, 0)
    parts = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else [])]
    parts += [(b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_values_come_exactly_as_stored(depth: int) -> None:
    values = np.random.default_rng(depth).integers(0, 2**depth, size=(5, 7))
    np.testing.assert_array_equal(decode_mask(png(values, depth=depth, colours=0)), values)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_of_a_palette_the_indices_come_whatever_its_colours(depth: int) -> None:
    values = np.random.default_rng(depth).integers(0, 2**depth, size=(5, 7))
    palette = np.random.default_rng(0).integers(0, 256, size=3 * 2**depth, dtype=np.uint8).tobytes()
    np.testing.assert_array_equal(decode_mask(png(values, depth=depth, colours=3, palette=palette)), values)


def test_a_file_that_pillow_wrote_agrees() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = Image.fromarray(values).convert("P")
    palette.putpalette(bytes(reversed(range(256))) * 3)
    np.testing.assert_array_equal(decode_mask(saved(palette)), values)
    np.testing.assert_array_equal(decode_mask(saved(palette, transparency=0)), values)


GREY = png(np.random.default_rng(0).integers(0, 256, size=(9, 9)), depth=8, colours=0)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not a PNG file"),
        (saved(Image.new("RGB", (4, 4)), "JPEG"), "not a PNG file"),
        (saved(Image.new("RGB", (4, 4))), "a PNG of colours"),
        (saved(Image.new("LA", (4, 4))), "a PNG of colours"),
        (saved(Image.new("RGBA", (4, 4))), "a PNG of colours"),
        (GREY[:20], "damaged PNG"),
        (GREY[:50], "damaged PNG"),
        (GREY[:60] + b"x" + GREY[61:], "damaged PNG"),
        (
            GREY[:16] + struct.pack(">II", 60_000, 60_000) + GREY[24:],
            f"^declares 60000 x 60000 pixels, above the limit of {MAX_PIXELS}",
        ),
        (GREY[:16] + struct.pack(">II", 0, 4) + GREY[24:], "damaged PNG"),
        (GREY[:24] + b"\x07" + GREY[25:], "damaged PNG"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(data: bytes, told: str) -> None:
    with pytest.raises(DecodeError, match=told) as error:
        decode_mask(data)
    assert "\n" not in str(error.value)
