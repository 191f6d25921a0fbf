"""From the bytes of an image file to RGB pixels, or to the reason why there are none.

JPEG goes through simplejpeg in its strict mode, everything else through Pillow. What is
accepted is whole: a truncated file is an error, never a picture with a grey half.
"""

from __future__ import annotations

import functools
import importlib.metadata
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin, features

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, MissingExtraError, ShortMemoryError
from foresift.inference import orientation

DECODER_REVISION = 1
"""Ours: raised with every change here or in ``transform.py`` that can change a pixel."""
MAX_PIXELS = 178_956_970
"""512 MiB of RGB; also where Pillow refuses by itself."""
LARGE_PIXELS = 30_000_000
"""Images above this size are decoded one at a time, however many threads there are."""

_TILE = 1024
"""Side of the squares in which pixels are converted: what is held in between stays at some 25 MiB."""
_ONE_LARGE = threading.Lock()
"""Held by whoever decodes a large image; taken once an image and around no other lock."""

_JPEG_MAGIC = b"\xff\xd8\xff"
# Everything else that Pillow can open stays shut: some of its formats run other programs.
_FORMATS = ("PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG")
_KNOWN = "JPEG, PNG, WebP, BMP, TIFF, GIF"
_PILLOW = re.compile(r"PIL\.")
_Box: TypeAlias = tuple[int, int, int, int]
"""left, top, right, bottom, as Pillow counts."""
_LAZY_PLUGINS = (TiffImagePlugin, WebPImagePlugin)
"""Imported here, so that no worker thread has to search for them."""


class DecodeError(DataError):
    """An image that can't be decoded; the text is a short reason."""


def decode(data: bytes, *, min_side: int | None = None) -> Pixels:
    """(h, w, 3) uint8 RGB, contiguous and writable, upright by its EXIF orientation.

    Transparent pixels lie on white; of an animation the first frame is taken; CMYK and
    16-bit images are scaled to 8 bits a channel, not clipped. Floats and 32-bit integers
    are fractions of the smallest of 1 (floats only), 255, 65,535 and 4,294,967,295 that
    holds the largest of them.

    Holds the image as its library decodes it (four bytes a pixel for colour in Pillow) and three
    bytes a pixel of the result; of the images above ``LARGE_PIXELS`` one at a time.

    Args:
        min_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 as long as both sides keep this
            many pixels; three to four times faster for a 12-megapixel photograph. Deterministic.
    Raises:
        DecodeError: broken, truncated, unknown, or above ``MAX_PIXELS``.
        ShortMemoryError: too large for the memory that is free now.
        MissingExtraError: a JPEG, and simplejpeg is not installed.
    """
    if not data:
        raise DecodeError("zero bytes long")
    try:
        if data.startswith(_JPEG_MAGIC):
            return _decode_jpeg(data, min_side or 0)
        return _decode_with_pillow(data)
    except MemoryError:
        raise ShortMemoryError("too large for the memory that is free now; tried again next time") from None


def decode_with_pillow(data: bytes, *, min_side: int | None = None) -> Pixels:
    """What :func:`decode` gives, by Pillow alone: for devices without simplejpeg.

    Both decode JPEG with libjpeg-turbo; where their builds differ, so may a pixel, by a level or two.

    Raises:
        DecodeError, ShortMemoryError: as :func:`decode`.
    """
    if not data:
        raise DecodeError("zero bytes long")
    try:
        return _decode_with_pillow(data, min_side or 0)
    except MemoryError:
        raise ShortMemoryError("too large for the memory that is free now; tried again next time") from None


def upright_size(data: bytes) -> tuple[int, int]:
    """Height and width of what :func:`decode` gives, by the header alone where that tells; raises as :func:`decode`.

    A cut file has a size; TIFF, and PNG with EXIF, which may stand behind the pixels, are decoded.
    """
    silence_pillow()
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            told = image.format != "TIFF" and (image.format != "PNG" or b"eXIf" not in data)
            exif, (width, height) = image.info.get("exif", b""), image.size
    except Exception:  # noqa: BLE001 - decoding says what is wrong with it
        told = False
    if not told:
        height, width, _ = decode(data).shape
        return height, width
    turned = orientation.of_jpeg(data) if data.startswith(_JPEG_MAGIC) else orientation.of_exif(exif)
    return (width, height) if turned >= orientation.SIDEWAYS else (height, width)


@functools.cache
def decoder_version() -> str:
    """Names and versions of everything that can change a pixel; part of every store key."""
    parts = {
        "foresift-decoder": str(DECODER_REVISION),
        "simplejpeg": _installed("simplejpeg"),
        "pillow": importlib.metadata.version("pillow"),
        "pillow-jpeg": features.version("libjpeg_turbo") or features.version("jpg"),
        "pillow-tiff": features.version("libtiff"),
        "pillow-webp": features.version("webp"),
    }
    return " ".join(f"{name}={version}" for name, version in parts.items())


def _decode_jpeg(data: bytes, min_side: int) -> Pixels:
    simplejpeg = _simplejpeg()
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        # Either damaged, or sampled in a way that simplejpeg has no name for; Pillow knows which.
        return _decode_with_pillow(data)
    inks = colours in ("CMYK", "YCCK")
    with room_for(width, height):
        try:
            # strict: what libjpeg only warns of (a premature end, corrupt data) is an error
            pixels = simplejpeg.decode_jpeg(
                data,
                colorspace="CMYK" if inks else "RGB",
                min_height=min_side,
                min_width=min_side,
                min_factor=2,
                strict=True,
            )
        except ValueError as error:
            raise damaged("JPEG", error) from None
        if inks:
            pixels = _rgb_of_inks(pixels)
        return orientation.upright(pixels, orientation.of_jpeg(data))


def _rgb_of_inks(inks: Pixels) -> Pixels:
    """(h, w, 3) from (h, w, 4)."""
    height, width, _ = inks.shape
    return _tiled(width, height, lambda box: _from_inks(inks[box[1] : box[3], box[0] : box[2]]))


def _from_inks(inks: Pixels) -> Pixels:
    """(h, w, 3) RGB from (h, w, 4) CMYK as JPEG files store it: inverted, so 255 = no ink."""
    black = inks[..., 3:].astype(np.uint16)
    return ((inks[..., :3] * black + 127) // 255).astype(np.uint8)


def _decode_with_pillow(data: bytes, min_side: int = 0) -> Pixels:
    silence_pillow()
    kind = "image"
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            kind = image.format or kind
            if min_side:
                image.draft(None, (min_side, min_side))  # of JPEG alone: 1/2, 1/4 or 1/8 of its sides
            with room_for(*image.size):
                image.load()
                return _upright_rgb(image)
    except (DecodeError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise DecodeError(f"declares more than {MAX_PIXELS} pixels, the limit") from None
    except UnidentifiedImageError:
        raise DecodeError(f"not an image, or a damaged one (known: {_KNOWN})") from None
    except Exception as error:  # noqa: BLE001 - Pillow's plug-ins raise anything on hostile bytes
        raise damaged(kind, error) from None


def _upright_rgb(image: Image.Image) -> Pixels:
    """(h, w, 3) of a loaded image, which is closed."""
    pixels = _rgb(image)
    exif = image.info.get("exif", b"")
    image.close()  # turning needs the room that its pixels take
    # Pillow turns TIFF itself, nothing else.
    turned = image.format == "TIFF" or not isinstance(exif, bytes)
    return pixels if turned else orientation.upright(pixels, orientation.of_exif(exif))


def _rgb(image: Image.Image) -> Pixels:
    """(h, w, 3) of a loaded image of any mode."""
    if image.mode.startswith("I;16"):
        return _grey16(image)
    if image.mode in ("I", "F"):
        full = _full_scale(image)
        return _tiled(*image.size, lambda box: _grey(np.asarray(image.crop(box)), full=full))
    if image.has_transparency_data:
        return _tiled(*image.size, lambda box: _on_white(np.asarray(image.crop(box).convert("RGBA"))))
    return _tiled(*image.size, lambda box: np.asarray(image.crop(box).convert("RGB")))


def _tiled(width: int, height: int, convert: Callable[[_Box], Pixels]) -> Pixels:
    """(h, w, 3) put together from (h', w', 3) of each tile, so that no step copies the whole image."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for box in _tiles(width, height):
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = convert(box)
    return pixels


def _tiles(width: int, height: int) -> Iterator[_Box]:
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            yield left, top, min(left + _TILE, width), min(top + _TILE, height)


def _grey(values: npt.NDArray[Any], *, full: float) -> Pixels:
    """(h, w, 3) from (h, w) values within 0 .. full."""
    scaled = np.rint(values * (255.0 / full)).astype(np.uint8)
    return np.repeat(scaled[..., np.newaxis], 3, axis=2)


def _grey16(image: Image.Image) -> Pixels:
    """(h, w, 3) of 16-bit words, of which scanners and cameras use 12; in TIFF 0 may stand for white."""
    tags = getattr(image, "tag_v2", {})
    full = 2 ** int(tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]) - 1
    white_is_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0

    def grey(box: _Box) -> Pixels:
        values = np.asarray(image.crop(box))
        return _grey(full - values if white_is_zero else values, full=full)

    return _tiled(*image.size, grey)


def _full_scale(image: Image.Image) -> float:
    """The value that stands for white in an image that does not say."""
    highest = max(_highest(np.asarray(image.crop(box))) for box in _tiles(*image.size))
    scales = (1, 255, 65_535, 4_294_967_295) if image.mode == "F" else (255, 65_535, 4_294_967_295)
    full = next((scale for scale in scales if highest <= scale), None)
    if full is None:
        raise DecodeError(f"holds pixels above {scales[-1]}, which have no agreed brightness")
    return float(full)


def _highest(values: npt.NDArray[Any]) -> float:
    if not np.isfinite(values).all():
        raise DecodeError("holds NaN or infinite pixels")
    if values.min() < 0:
        raise DecodeError("holds negative pixels, which have no agreed brightness")
    return float(values.max())


def _on_white(pixels: Pixels) -> Pixels:
    """(h, w, 3) RGB from (h, w, 4) RGBA laid on white."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def refuse_bomb(width: int, height: int) -> None:
    """Before any pixel is decoded: a few bytes may declare gigabytes."""
    if width * height > MAX_PIXELS:
        raise DecodeError(f"declares {width} x {height} pixels, above the limit of {MAX_PIXELS}")


@contextmanager
def room_for(width: int, height: int) -> Iterator[None]:
    """While an image of this size may be decoded; a large one waits for the one before it.

    Raises:
        DecodeError: above the limit.
    """
    refuse_bomb(width, height)
    if width * height <= LARGE_PIXELS:
        yield
        return
    with _ONE_LARGE:
        yield


def damaged(kind: str, error: Exception) -> DecodeError:
    """The error that a file of some kind is broken, in the words of the library that found it."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return DecodeError(f"damaged {kind}: {text[:200]}")


def silence_pillow() -> None:
    """Keep Pillow's warnings of odd metadata from the user; what matters is raised here.

    ``warnings.catch_warnings`` is no help: it swaps the filters of all threads, and worker
    threads leave it in any order. So the filter is put in front where it is missing, and stays.
    """
    if not any(entry[0] == "ignore" and entry[3] == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)


def _simplejpeg() -> ModuleType:
    try:
        import simplejpeg
    except ImportError:
        raise MissingExtraError("decoding JPEG images", "vision") from None
    module: ModuleType = simplejpeg
    return module


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"
