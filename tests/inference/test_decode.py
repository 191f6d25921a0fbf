import io
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foresift.core.errors import DataError, MissingExtraError, ShortMemoryError
from foresift.inference import decode as decoding
from foresift.inference.decode import DecodeError, decode, decoder_version, upright_size
from images import encode, exif, jpeg, jpeg_resized_on_paper, noise, png, png_chunk, png_header, smooth

LOSSLESS = {
    "png": ("PNG", {}),
    "png interlaced": ("PNG", {"interlace": True}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}


def pillow_rgb(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def levels_apart(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# ---- what comes out is what went in ----------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_pixels_back(name: str) -> None:
    kind, options = LOSSLESS[name]
    pixels = noise(23, 31, seed=5)
    assert np.array_equal(decode(encode(pixels, kind, **options)), pixels)


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_are_contiguous_and_writable_rgb(name: str) -> None:
    kind, options = LOSSLESS[name]
    pixels = decode(encode(noise(), kind, **options))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpeg_is_what_pillow_sees(options: dict[str, object]) -> None:
    data = jpeg(smooth(40, 56), quality=95, **options)
    assert levels_apart(decode(data), pillow_rgb(data)) <= 1
    assert levels_apart(decode(data), smooth(40, 56)) <= 12


def test_grey_jpeg_has_three_equal_channels() -> None:
    grey = smooth(40, 56)[..., 0]
    pixels = decode(jpeg(grey, quality=95))
    assert levels_apart(pixels, np.repeat(grey[..., None], 3, axis=2)) <= 6
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_cmyk_and_ycck_jpeg_are_what_pillow_sees() -> None:
    cmyk = jpeg(Image.fromarray(smooth(40, 56)).convert("CMYK"), quality=95)
    assert levels_apart(decode(cmyk), pillow_rgb(cmyk)) <= 1
    assert levels_apart(decode(cmyk), smooth(40, 56)) <= 12
    flag = cmyk.index(b"Adobe") + 11  # the colour transform: 0 = CMYK, 2 = YCCK
    ycck = cmyk[:flag] + b"\x02" + cmyk[flag + 1 :]
    assert levels_apart(decode(ycck), pillow_rgb(ycck)) <= 1


def test_rgb_jpeg_without_a_colour_transform() -> None:
    data = jpeg(smooth(), keep_rgb=True)
    assert levels_apart(decode(data), pillow_rgb(data)) <= 1


def test_jpeg_with_sampling_that_simplejpeg_can_not_name() -> None:
    # Brightness sampled more coarsely than colour: legal, and no usual 4:x:x. The scan holds
    # 24 blocks of "no change, end of block", in the standard codes 00 and 1010.
    data = bytearray(jpeg(np.full((24, 32, 3), 128, dtype=np.uint8), subsampling="4:2:2"))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    data[frame + 11], data[frame + 14] = 0x11, 0x21
    data[scan + 6] = data[scan + 8] = data[scan + 10] = 0
    blocks = int("001010" * 24, 2).to_bytes(18, "big")
    odd = bytes(data[: scan + 14]) + blocks + b"\xff\xd9"
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg_header(odd)
    assert np.array_equal(decode(odd), np.full((24, 32, 3), 128))


def test_bytes_after_the_end_do_not_matter() -> None:
    for data in (jpeg(), png()):
        assert np.array_equal(decode(data + b"\0appended by a camera"), decode(data))


# ---- modes -----------------------------------------------------------------------------------


def test_palette_and_one_bit_are_expanded() -> None:
    palette = Image.fromarray(noise()).quantize(16)
    assert np.array_equal(decode(png(palette)), np.array(palette.getpalette()).reshape(-1, 3)[np.array(palette)])
    bits = noise(channels=0) > 127
    expected = np.repeat(np.where(bits, 255, 0)[..., None], 3, axis=2)
    assert np.array_equal(decode(png(Image.fromarray(bits))), expected)
    assert np.array_equal(decode(encode(Image.fromarray(bits), "TIFF", compression="group4")), expected)


def on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return np.floor(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_lies_on_white(kind: str, options: dict[str, object]) -> None:
    rgba = noise(channels=4)
    rgba[0, :3, 3] = (0, 128, 255)
    assert levels_apart(decode(encode(rgba, kind, **options)), on_white(rgba)) <= 1
    assert decode(encode(rgba, kind, **options))[0, 0].tolist() == [255, 255, 255]


def test_grey_with_alpha_lies_on_white() -> None:
    la = noise(channels=2)
    rgba = np.concatenate([np.repeat(la[..., :1], 3, axis=2), la[..., 1:]], axis=2)
    assert levels_apart(decode(png(Image.fromarray(la))), on_white(rgba)) <= 1


def test_transparent_colours_become_white() -> None:
    palette = Image.fromarray(noise()).quantize(4)
    index, seen = np.array(palette), pillow_rgb(png(palette))
    for clear in (2, bytes([255, 255, 0])):  # one index; or an alpha for each of the first indices
        expected = np.where((index == 2)[..., None], 255, seen)
        assert np.array_equal(decode(png(palette, transparency=clear)), expected)
    pixels = noise()
    pixels[3, 4] = (1, 2, 3)
    whitened = pixels.copy()
    whitened[3, 4] = 255
    assert np.array_equal(decode(png(pixels, transparency=(1, 2, 3))), whitened)


RAMP = np.array([[0, 1, 128, 129, 257, 32767, 32768, 65534, 65535]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    grey = decode(encode(RAMP.astype(np.uint16), kind))
    assert grey[0, :, 0].tolist() == np.rint(RAMP[0] / 257).tolist()
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_sixteen_bit_colour_is_scaled_not_clipped() -> None:
    rows = np.repeat(RAMP[0][:, None], 3, axis=1).astype(">u2")
    body = b"\0" + rows.tobytes()  # one line, no filter
    header = png_header(9, 1)[:24] + b"\x10\x02\0\0\0"
    header += struct.pack(">I", zlib.crc32(header[12:]))
    data = header + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")
    assert levels_apart(decode(data)[0, :, 0], np.rint(RAMP[0] / 257)) <= 1


@pytest.mark.parametrize(
    ("values", "full"),
    [
        (np.array([[0, 100, 255]], dtype=np.int32), 255),
        (np.array([[0, 256, 65535]], dtype=np.int32), 65535),
        (np.array([[0, 2**30, 2**31 - 1]], dtype=np.int32), 2**32 - 1),
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), 1),
        (np.array([[0.0, 1.5, 255.0]], dtype=np.float32), 255),
        (np.array([[0.0, 300.0, 65535.0]], dtype=np.float32), 65535),
    ],
)
def test_wide_pixels_are_fractions_of_a_known_white(values: np.ndarray, full: int) -> None:
    expected = np.rint(values[0].astype(float) * 255 / full)
    assert decode(encode(values, "TIFF"))[0, :, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e30])
def test_pixels_without_an_agreed_brightness_are_an_error(value: float) -> None:
    with pytest.raises(DecodeError, match=r"NaN|negative|above"):
        decode(encode(np.full((4, 4), value, dtype=np.float32), "TIFF"))


def test_twelve_bit_tiff_uses_its_own_white() -> None:
    entries = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 3}
    packed = b"\0\x0f\xff"  # 0 and 4095
    assert decode(_tiff(entries, packed))[0, :, 0].tolist() == [0, 255]


def test_sixteen_bit_tiff_in_which_zero_is_white() -> None:
    entries = {256: 2, 257: 1, 258: 16, 259: 1, 262: 0, 273: 0, 277: 1, 278: 1, 279: 4}
    assert decode(_tiff(entries, b"\0\0\xff\xff"))[0, :, 0].tolist() == [255, 0]


def _tiff(entries: dict[int, int], strip: bytes) -> bytes:
    """A TIFF of one strip, written by hand."""
    start = 8 + 2 + 12 * len(entries) + 4
    values = {**entries, 273: start}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(values)) + table + bytes(4) + strip


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(data).shape == (6, 8, 3)
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


# ---- orientation -----------------------------------------------------------------------------

FIRST_ROW_AND_COLUMN = {  # EXIF 2.3, tag 0x0112: which visual side the stored row 0 and column 0 are
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as a camera held that way stores it, pixel by pixel from the definition."""
    height, width = upright.shape[:2]
    row_side, column_side = FIRST_ROW_AND_COLUMN[orientation]
    sideways = row_side in ("left", "right")
    stored = np.empty((width, height, 3) if sideways else upright.shape, dtype=np.uint8)
    for r in range(stored.shape[0]):
        for c in range(stored.shape[1]):
            at = {"top": r, "left": r, "bottom": height - 1 - r, "right": width - 1 - r}[row_side]
            across = {"top": c, "left": c, "bottom": height - 1 - c, "right": width - 1 - c}[column_side]
            stored[r, c] = upright[across, at] if sideways else upright[at, across]
    return stored


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    upright = smooth(24, 40)
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encode(as_stored(upright, orientation), kind, exif=exif(orientation), **options)
    pixels = decode(data)
    assert upright_size(data) == (24, 40)
    assert levels_apart(pixels, upright) <= (6 if kind == "JPEG" else 0)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_a_size_is_read_without_the_pixels_and_no_image_has_none() -> None:
    assert upright_size(jpeg(smooth(24, 40))[:-20]) == (24, 40)
    with pytest.raises(DecodeError, match="not an image"):
        upright_size(b"no image")


@pytest.mark.parametrize(
    "block", [b"", b"II", b"MM\0*\0\0\0\x08", b"II*\0\xff\xff\xff\xff", b"XX*\0", exif(9), exif(0)]
)
def test_damaged_exif_is_no_orientation(block: bytes) -> None:
    block = block if block.startswith(b"Exif") else b"Exif\0\0" + block
    plain = jpeg(smooth())
    assert np.array_equal(decode(jpeg(smooth(), exif=block)), decode(plain))


# ---- smaller JPEGs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("min_side", "shape"),
    [(None, (96, 160)), (97, (96, 160)), (49, (96, 160)), (48, (48, 80)), (24, (24, 40)), (1, (12, 20))],
)
def test_min_side_is_kept(min_side: int | None, shape: tuple[int, int]) -> None:
    data = jpeg(smooth(96, 160), quality=95)
    pixels = decode(data, min_side=min_side)
    assert pixels.shape == (*shape, 3)
    small = np.asarray(Image.fromarray(smooth(96, 160)).resize(shape[::-1], Image.Resampling.BOX))
    assert levels_apart(pixels, small) <= 12


def test_min_side_changes_nothing_but_jpeg() -> None:
    pixels = noise(96, 160)
    assert np.array_equal(decode(png(pixels), min_side=8), pixels)


# ---- truncation ------------------------------------------------------------------------------

WHOLE = {
    "jpeg": jpeg(smooth(33, 47)),
    "jpeg progressive": jpeg(smooth(33, 47), progressive=True),
    "jpeg grey": jpeg(smooth(33, 47)[..., 0]),
    "jpeg cmyk": jpeg(Image.fromarray(smooth(17, 17)).convert("CMYK")),
    "jpeg restarts": jpeg(smooth(33, 47), restart_marker_blocks=1),
    "png": png(noise(9, 11)),
    "png palette": png(Image.fromarray(noise(9, 11)).quantize(8)),
    "png interlaced": png(noise(9, 11), interlace=True),
    "gif": encode(Image.fromarray(noise(9, 11)).quantize(32), "GIF"),
    "bmp": encode(noise(9, 11), "BMP"),
    "tiff": encode(noise(9, 11), "TIFF"),
    "tiff lzw": encode(noise(9, 11), "TIFF", compression="tiff_lzw"),
    "webp": encode(noise(9, 11), "WEBP", lossless=True),
    "webp lossy": encode(smooth(), "WEBP"),
}


@pytest.mark.parametrize("name", [name for name in WHOLE if name.startswith("jpeg")])
def test_a_jpeg_cut_anywhere_is_an_error(name: str) -> None:
    data = WHOLE[name]
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:length])


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.startswith("jpeg")])
def test_a_cut_file_is_an_error_or_complete(name: str) -> None:
    """A missing end mark may be forgiven; a missing pixel never."""
    data = WHOLE[name]
    whole = decode(data)
    for length in range(len(data)):
        try:
            pixels = decode(data[:length])
        except DecodeError:
            continue
        assert np.array_equal(pixels, whole), length
        assert len(data) - length <= 64


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_flipped_bits_never_raise_anything_else(name: str, draw: st.DataObject) -> None:
    data = bytearray(WHOLE[name])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    _decode_or_refuse(bytes(data))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF"]),
    st.binary(max_size=300),
)
def test_arbitrary_bytes_never_raise_anything_else(magic: bytes, data: bytes) -> None:
    _decode_or_refuse(magic + data)


def _decode_or_refuse(data: bytes) -> None:
    try:
        shape, reason = decode(data).shape, ""
    except DecodeError as error:
        shape, reason = (), str(error)
    assert len(shape) == (0 if reason else 3)
    assert "\n" not in reason


# ---- bombs, warnings, threads, versions --------------------------------------------------------


def _big_on_paper(kind: str) -> bytes:
    """A tiny file that declares 15,000 x 12,000 pixels: just above the limit."""
    data = bytearray(encode(noise(8, 8), kind))
    if kind == "JPEG":
        return jpeg_resized_on_paper(bytes(data), 15_000, 12_000)
    if kind == "PNG":
        return png_header(15_000, 12_000) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", 15_000, 12_000)
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", 15_000, 12_000)
    if kind == "TIFF":
        return _tiff({256: 15_000, 257: 12_000, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 12_000, 279: 3}, b"abc")
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_declared_pixels_above_the_limit_are_refused_undecoded(kind: str) -> None:
    with pytest.raises(DecodeError, match=r"15000 x 12000|more than 178956970"):
        decode(_big_on_paper(kind))


def test_webp_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(DecodeError, match="32 x 24 pixels"):
        decode(encode(noise(), "WEBP"))


def _wide(dtype: str) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60_000, (300, 400)).astype(dtype)


def _cmyk(kind: str) -> bytes:
    return encode(Image.fromarray(noise(300, 400)).convert("CMYK"), kind)


MODES = {
    "rgb": png(noise(300, 400)),
    "rgba": png(noise(300, 400, channels=4)),
    "rgba turned": png(noise(300, 400, channels=4), exif=exif(6)),
    "grey": png(noise(300, 400, channels=0)),
    "grey with alpha": png(Image.fromarray(noise(300, 400, channels=2))),
    "one bit": png(Image.fromarray(noise(300, 400, channels=0) > 127)),
    "palette": png(Image.fromarray(noise(300, 400)).quantize(16)),
    "palette with a clear colour": png(Image.fromarray(noise(300, 400)).quantize(16), transparency=2),
    "palette with alpha": png(Image.fromarray(noise(300, 400)).quantize(16), transparency=bytes(range(0, 160, 10))),
    "one clear colour": png(noise(300, 400), transparency=tuple(noise(300, 400)[200, 300].tolist())),
    "sixteen bits": png(_wide("uint16")),
    "integers": encode(_wide("int32"), "TIFF"),
    "floats": encode(_wide("float32"), "TIFF"),
    "cmyk tiff": _cmyk("TIFF"),
    "cmyk jpeg": _cmyk("JPEG"),
}


@pytest.mark.parametrize("name", MODES)
def test_tiles_leave_no_seam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decode(MODES[name])
    monkeypatch.setattr(decoding, "_TILE", 37)
    assert np.array_equal(decode(MODES[name]), whole)


@pytest.mark.parametrize("name", MODES)
def test_no_step_holds_more_than_the_image_and_its_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Pillow holds is not traced; the arrays of ours and of simplejpeg are."""
    monkeypatch.setattr(decoding, "_TILE", 32)
    decode(MODES[name])
    tracemalloc.start()
    try:
        decode(MODES[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bytes_a_pixel = 7 if name == "cmyk jpeg" else 6 if "turned" in name else 3
    assert peak <= 300 * 400 * bytes_a_pixel + 150_000


def _do_two_meet(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether two threads are inside the decoder at one moment."""
    meeting, convert = threading.Barrier(2), decoding._rgb

    def wait_and_convert(image: Image.Image) -> np.ndarray:
        try:
            meeting.wait(timeout=0.5)
        except threading.BrokenBarrierError:
            alone.append(True)
        return convert(image)

    alone: list[bool] = []
    monkeypatch.setattr(decoding, "_rgb", wait_and_convert)
    threads = [threading.Thread(target=decode, args=(data,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return not alone


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _do_two_meet(png(), monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 24 * 32 - 1)
    assert not _do_two_meet(png(), monkeypatch)


def test_a_broken_large_image_lets_the_next_one_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 1)
    for data in (png(), jpeg()):
        for _ in range(2):
            with pytest.raises(DecodeError):
                decode(data[: len(data) // 2])
        assert decode(data).shape == (24, 32, 3)


@pytest.mark.parametrize("data", [png(), jpeg()])
def test_an_image_that_memory_can_not_hold_is_one_bad_image(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "_rgb", exhausted)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", exhausted)
    with pytest.raises(ShortMemoryError, match="too large for the memory that is free now"):
        decode(data)


def test_odd_metadata_does_not_warn() -> None:
    odd = _tiff({256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 1, 40_000: 0}, b"\x07")
    entry = struct.pack("<HHII", 40_000, 2, 900, 10_000)  # 900 bytes of text beyond the end
    odd = odd.replace(struct.pack("<HHII", 40_000, 4, 1, 0), entry)
    with pytest.warns(UserWarning, match="larger than file|Truncated|bytes"):
        Image.open(io.BytesIO(odd)).load()
    assert decode(odd)[0, 0].tolist() == [7, 7, 7]


def test_other_warnings_stay_visible() -> None:
    decode(png())
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_many_threads_see_the_same_pixels() -> None:
    files = list(WHOLE.values())
    expected = [decode(data) for data in files]
    wrong: list[object] = []

    def work() -> None:
        for data, pixels in zip(files, expected, strict=True):
            if not np.array_equal(decode(data), pixels):
                wrong.append(data[:4])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_versions_name_everything_that_can_change_a_pixel() -> None:
    for part in ("foresift-decoder=1", "simplejpeg=", "pillow=", "pillow-webp=", "pillow-tiff="):
        assert part in decoder_version()


def test_without_simplejpeg_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert decode(png()).shape == (24, 32, 3)
    with pytest.raises(MissingExtraError, match=r"foresift\[vision\]"):
        decode(jpeg())


def test_no_other_program_is_ever_run() -> None:
    with pytest.raises(DataError, match="not an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
