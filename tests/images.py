"""Images made on the spot, whole and broken, for every test that needs files.

``GOOD`` and ``BROKEN`` map a name to a maker. A maker writes one file into a folder and
gives its path; each content occurs once, so that no two files merge into one sample.
"""

import io
import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Maker = Callable[[Path], Path]


# ---- pixels and encoders -------------------------------------------------------------------


def noise(height: int = 24, width: int = 32, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    """(height, width, channels) uint8; channels 0 = (height, width)."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int = 24, width: int = 32, *, tint: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 slopes: JPEG keeps them to within a few levels."""
    y, x = np.mgrid[:height, :width]
    channels = (x * 200 // width + tint, y * 200 // height, 200 - x * 100 // width - y * 100 // height)
    return np.stack(channels, axis=-1).astype(np.uint8)


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    """A file of the given format (Pillow's name) as bytes."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray | Image.Image | None = None, *, tint: int = 0, **options: object) -> bytes:
    return encode(smooth(tint=tint) if pixels is None else pixels, "JPEG", **options)


def png(pixels: np.ndarray | Image.Image | None = None, *, seed: int = 0, **options: object) -> bytes:
    return encode(noise(seed=seed) if pixels is None else pixels, "PNG", **options)


def exif(orientation: int) -> bytes:
    """An EXIF block that says only which way up the picture is."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    """Signature and IHDR of an 8-bit RGB picture."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def jpeg_resized_on_paper(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG declaring another size."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def _file(name: str, data: Callable[[], bytes]) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data())
        return path

    return make


def _cut(data: Callable[[], bytes], keep: float | int) -> Callable[[], bytes]:
    """The first part of the data: a share if ``keep`` is a fraction, all but that many bytes if negative."""

    def cut() -> bytes:
        whole = data()
        return whole[: int(len(whole) * keep) if isinstance(keep, float) else keep]

    return cut


def _patched(data: Callable[[], bytes], at: float, patch: bytes) -> Callable[[], bytes]:
    """The data with some bytes replaced, ``at`` a share of its length."""

    def patched() -> bytes:
        whole = data()
        start = int(len(whole) * at)
        return whole[:start] + patch + whole[start + len(patch) :]

    return patched


# ---- files that are as they should be ------------------------------------------------------


def _grey16() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32))


def _animation(kind: str) -> bytes:
    frames = [Image.fromarray(smooth(tint=tint)) for tint in (3, 20, 40)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


GOOD: dict[str, Maker] = {
    "jpeg": _file("good-1.jpg", lambda: jpeg(tint=1)),
    "jpeg progressive": _file("good-2.jpeg", lambda: jpeg(tint=2, progressive=True)),
    "jpeg grey": _file("good-3.JPG", lambda: jpeg(noise(channels=0, seed=3))),
    "jpeg cmyk": _file("good-4.jpe", lambda: jpeg(Image.fromarray(smooth(tint=4)).convert("CMYK"))),
    "jpeg turned": _file("good-5.jpg", lambda: jpeg(tint=5, exif=exif(6))),
    "jpeg with a tail": _file("good-6.jpg", lambda: jpeg(tint=6) + b"\0appended by a camera"),
    "png": _file("good-7.png", lambda: png(seed=7)),
    "png alpha": _file("good-8.png", lambda: png(noise(channels=4, seed=8))),
    "png palette": _file("good-9.png", lambda: png(Image.fromarray(noise(seed=9)).quantize(16))),
    "png one bit": _file("good-10.png", lambda: png(Image.fromarray(noise(seed=10)).convert("1"))),
    "png 16 bit": _file("good-11.png", lambda: png(_grey16())),
    "webp": _file("good-12.webp", lambda: encode(noise(seed=12), "WEBP", lossless=True)),
    "bmp": _file("good-13.bmp", lambda: encode(noise(seed=13), "BMP")),
    "tiff": _file("good-14.tif", lambda: encode(noise(seed=14), "TIFF")),
    "tiff deflate": _file("good-15.tiff", lambda: encode(noise(seed=15), "TIFF", compression="tiff_adobe_deflate")),
    "gif animation": _file("good-16.gif", lambda: _animation("GIF")),
    "name with spaces and umlauts": _file("good 17 äöü 漢字.png", lambda: png(seed=17)),
    "name with a newline": _file("good\n18.png", lambda: png(seed=18)),
    "one pixel": _file("good-19.png", lambda: png(noise(1, 1, seed=19))),
}


# ---- broken files --------------------------------------------------------------------------


def _dangling(folder: Path) -> Path:
    path = folder / "dangling.jpg"
    path.symlink_to(folder / "nobody-home.jpg")
    return path


def _self_link(folder: Path) -> Path:
    path = folder / "ouroboros.jpg"
    path.symlink_to(path)
    return path


def _link_ring(folder: Path) -> Path:
    path, other = folder / "ring.jpg", folder / "ring.other"
    path.symlink_to(other)
    other.symlink_to(path)
    return path


def _pipe(folder: Path) -> Path:
    path = folder / "pipe.jpg"
    os.mkfifo(path)
    return path


def _socket(folder: Path) -> Path:
    path = folder / "socket.jpg"
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a socket is limited to 107 bytes, a test's folder is not.
        here = os.open(folder, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.jpg")
        os.close(here)
    return path


def _huge(folder: Path) -> Path:
    path = folder / "huge.jpg"
    path.touch()
    os.truncate(path, 600 * 2**20)  # a hole: it takes no space
    return path


def _not_utf8(folder: Path) -> Path:
    path = folder / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(png(seed=101))
    return path


def _folder_loop(folder: Path) -> Path:
    path = folder / "loop.jpg"
    path.symlink_to(folder, target_is_directory=True)
    return path


def _tiff_floats(value: float) -> bytes:
    return encode(Image.fromarray(np.full((8, 8), value, dtype=np.float32)), "TIFF")


def _bmp_bomb() -> bytes:
    data = bytearray(encode(noise(seed=102), "BMP"))
    data[18:26] = struct.pack("<ii", 60_000, 60_000)
    return bytes(data)


def _png_bad_checksum() -> bytes:
    data = bytearray(png(seed=24))
    data[29] ^= 0xFF  # the first byte of the checksum of IHDR
    return bytes(data)


def _webp() -> bytes:
    return encode(noise(seed=103), "WEBP", lossless=True)


def _gif() -> bytes:
    return encode(Image.fromarray(noise(seed=104)).quantize(64), "GIF")


def _tiff() -> bytes:
    return encode(noise(seed=105), "TIFF", compression="tiff_lzw")


BROKEN: dict[str, Maker] = {
    # what a listing can see
    "zero bytes": _file("zero.jpg", lambda: b""),
    "dangling link": _dangling,
    "link to itself": _self_link,
    "two links in a ring": _link_ring,
    "named pipe": _pipe,
    "socket": _socket,
    "above the size limit": _huge,
    "name not UTF-8": _not_utf8,
    "link to the folder above": _folder_loop,
    # no image at all
    "text": _file("text.jpg", lambda: b"Lorem ipsum dolor sit amet.\n" * 9),
    "web page": _file("page.png", lambda: b"<!DOCTYPE html><title>404 Not Found</title>\n"),
    "nul bytes": _file("nul.jpg", lambda: bytes(4096)),
    "random bytes": _file("random.png", lambda: np.random.default_rng(1).bytes(4096)),
    "one byte": _file("one.gif", lambda: b"\xff"),
    "pdf": _file("pdf.jpg", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n%%EOF\n"),
    "postscript": _file("eps.jpg", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
    "svg": _file("svg.png", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "zip": _file("zip.webp", lambda: b"PK\x05\x06" + bytes(18)),
    "git-lfs pointer": _file("lfs.jpg", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    # JPEG
    "jpeg start only": _file("soi.jpg", lambda: b"\xff\xd8\xff"),
    "jpeg header only": _file("header.jpg", lambda: jpeg(tint=11).partition(b"\xff\xda")[0]),
    "jpeg half": _file("half.jpg", _cut(lambda: jpeg(noise(64, 64, seed=12)), 0.5)),
    "jpeg without its last byte": _file("last.jpg", _cut(lambda: jpeg(tint=13), -1)),
    "jpeg without end marker": _file("no-eoi.jpg", _cut(lambda: jpeg(tint=14), -2)),
    "jpeg progressive half": _file("prog.jpg", _cut(lambda: jpeg(noise(seed=15), progressive=True), 0.6)),
    "jpeg cmyk half": _file("cmyk.jpg", _cut(lambda: jpeg(Image.new("CMYK", (64, 64), (9, 99, 3, 0))), 0.9)),
    "jpeg without its first kilobyte": _file("tail.jpg", lambda: jpeg(noise(64, 64, seed=16))[1024:]),
    "jpeg zeroed in the middle": _file("hole.jpg", _patched(lambda: jpeg(noise(seed=17)), 0.6, bytes(300))),
    "jpeg of no width": _file("flat.jpg", lambda: jpeg_resized_on_paper(jpeg(tint=18), 0, 24)),
    "jpeg bomb": _file("bomb.jpg", lambda: jpeg_resized_on_paper(jpeg(tint=19), 60_000, 60_000)),
    "jpeg without tables": _file("tables.jpg", lambda: jpeg(tint=20).replace(b"\xff\xdb", b"\xff\xfe")),
    # PNG
    "png signature only": _file("signature.png", lambda: b"\x89PNG\r\n\x1a\n"),
    "png half": _file("half.png", _cut(lambda: png(seed=21), 0.5)),
    "png without pixels": _file("empty.png", lambda: png_header(8, 8) + png_chunk(b"IEND", b"")),
    "png of no width": _file("flat.png", lambda: png_header(0, 8) + png_chunk(b"IEND", b"")),
    "png bomb": _file("bomb.png", lambda: png_header(60_000, 60_000) + png_chunk(b"IDAT", zlib.compress(b"0"))),
    "png with damaged pixels": _file("pixels.png", _patched(lambda: png(seed=22), 0.5, b"\xaa" * 40)),
    "png with a wrong header checksum": _file("crc.png", _png_bad_checksum),
    # the others
    "gif signature only": _file("signature.gif", lambda: b"GIF89a"),
    "gif half": _file("half.gif", _cut(_gif, 0.6)),
    "bmp half": _file("half.bmp", _cut(lambda: encode(noise(seed=23), "BMP"), 0.5)),
    "bmp bomb": _file("bomb.bmp", _bmp_bomb),
    "tiff signature only": _file("signature.tif", lambda: b"II*\0\x08\0\0\0"),
    "tiff half": _file("half.tif", _cut(_tiff, 0.5)),
    "tiff of NaN": _file("nan.tif", lambda: _tiff_floats(float("nan"))),
    "tiff below zero": _file("negative.tif", lambda: _tiff_floats(-1.0)),
    "webp signature only": _file("signature.webp", lambda: b"RIFF\x24\0\0\0WEBPVP8 "),
    "webp half": _file("half.webp", _cut(_webp, 0.5)),
    "webp with damaged pixels": _file("pixels.webp", lambda: _webp()[:26] + b"\xff" * 200 + _webp()[226:]),
}


# ---- real ones -------------------------------------------------------------------------------


def unpacked(data: Path, folder: Path, *, per_class: int) -> Path:
    """The first test images of each class of CIFAR-10, as files below ``folder``."""
    archive = data / "cifar10.tar.gz"
    with tarfile.open(archive) as tar:
        for member in tar:
            _, part, name, file = Path(member.name).parts
            if part != "test":
                break
            if int(Path(file).stem) < per_class:
                contents = tar.extractfile(member)
                assert contents is not None
                (folder / name).mkdir(exist_ok=True)
                (folder / name / file).write_bytes(contents.read())
    return folder
