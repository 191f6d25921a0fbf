import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foresift.core.generations import Transform
from foresift.inference.decode import decode
from foresift.inference.transform import apply, load
from images import encode, jpeg, noise, png, smooth

SQUASH = Transform(size=16)
CROP = Transform(size=16, resize="crop", crop_share=0.5)


def levels_apart(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@settings(deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 40),
    st.sampled_from(["squash", "crop"]),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_any_shape_becomes_the_square(height: int, width: int, size: int, resize: str, interpolation: str) -> None:
    transform = Transform(size=size, resize=resize, interpolation=interpolation)
    square = apply(noise(height, width), transform)
    assert square.shape == (size, size, 3)
    assert square.dtype == np.uint8
    assert square.flags.writeable


def test_pixels_of_the_right_size_come_back_as_they_are() -> None:
    pixels = noise(16, 16)
    assert apply(pixels, SQUASH) is pixels
    assert apply(pixels, Transform(size=16, resize="crop", crop_share=1.0)) is pixels
    assert not np.array_equal(apply(pixels, CROP), pixels)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (96, 64)])
def test_crop_is_resizing_the_shorter_side_and_cutting_the_centre(height: int, width: int) -> None:
    pixels = smooth(height, width)
    scale = 32 / min(height, width)  # 16 / 0.5
    resized = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - 16) // 2, (resized.height - 16) // 2
    expected = np.asarray(resized)[top : top + 16, left : left + 16]
    assert levels_apart(apply(pixels, CROP), expected) <= 1


def test_squash_averages_like_a_plain_mean() -> None:
    """Halving with an antialiased triangle leaves slopes where they were: the interior equals the block mean."""
    pixels = smooth(32, 32)
    means = pixels.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert levels_apart(apply(pixels, SQUASH)[1:-1, 1:-1], np.rint(means)[1:-1, 1:-1]) <= 2


def test_the_two_interpolations_differ() -> None:
    pixels = noise(40, 40)
    assert not np.array_equal(apply(pixels, SQUASH), apply(pixels, Transform(size=16, interpolation="bicubic")))


@pytest.mark.parametrize("transform", [SQUASH, CROP])
def test_load_is_decode_and_apply(transform: Transform) -> None:
    data = png(noise(50, 70))
    assert np.array_equal(load(data, transform), apply(decode(data), transform))


@pytest.mark.parametrize("transform", [SQUASH, CROP])
@pytest.mark.parametrize("shape", [(300, 200), (129, 700), (63, 65), (8, 8)])
def test_a_jpeg_loaded_small_looks_like_one_decoded_in_full(transform: Transform, shape: tuple[int, int]) -> None:
    data = jpeg(smooth(*shape), quality=92)
    assert levels_apart(load(data, transform), apply(decode(data), transform)) <= 6


def test_load_gives_the_same_bytes_each_time() -> None:
    data = encode(smooth(300, 200), "JPEG")
    assert np.array_equal(load(data, SQUASH), load(data, SQUASH))
