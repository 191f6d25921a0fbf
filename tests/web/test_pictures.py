"""What a browser gets of an image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foresift.core.errors import DataError
from foresift.core.regions import Region
from foresift.web.pictures import LONGEST_PX, THUMBNAIL_PX, Picture, part, thumbnail, whole


def saved(folder: Path, width: int, height: int, name: str = "a.png", **options: object) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, **options)  # type: ignore[arg-type]
    return str(folder / name)


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data))


def test_tiny_images_grow_by_whole_pixels(tmp_path: Path) -> None:
    uri = saved(tmp_path, 8, 6)
    small, large = np.asarray(Image.open(uri)), np.asarray(opened(whole(uri)))
    assert large.shape == (6 * 128, 8 * 128, 3)
    np.testing.assert_array_equal(large[::128, ::128], small)
    np.testing.assert_array_equal(large[127::128, 127::128], small)


def test_large_images_shrink_and_others_stay(tmp_path: Path) -> None:
    assert opened(whole(saved(tmp_path, 4000, 300))).size == (LONGEST_PX, 120)
    assert opened(whole(saved(tmp_path, 640, 480))).size == (640, 480)


def test_pictures_stand_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    uri = saved(tmp_path, 600, 400, "a.jpg", exif=turned)
    assert opened(whole(uri)).size == (400, 600)
    assert opened(thumbnail(uri)).size == (75, THUMBNAIL_PX)


def test_a_region_is_framed_inside_its_image(tmp_path: Path) -> None:
    uri = saved(tmp_path, 64, 48)
    region = Region(16, 8, 20, 10)
    before, shown = np.asarray(Image.open(uri)), np.asarray(opened(whole(uri, region)))
    scale = shown.shape[1] // 64
    assert shown.shape == (48 * scale, 64 * scale, 3)
    np.testing.assert_array_equal(shown[::scale, ::scale][8:18, 16:36], before[8:18, 16:36])
    np.testing.assert_array_equal(shown[0, 0], (before[0, 0] * 0.45).astype(np.uint8))
    assert (shown[8 * scale - 1, 16 * scale : 36 * scale] == (255, 190, 60)).all()
    np.testing.assert_array_equal(
        np.asarray(opened(part(uri, region)))[:: 1024 // 20, :: 1024 // 20], before[8:18, 16:36]
    )


def test_a_region_at_the_border_is_shown_whole(tmp_path: Path) -> None:
    uri = saved(tmp_path, 40, 30)
    shown = np.asarray(opened(whole(uri, Region(0, 0, 40, 30))))
    np.testing.assert_array_equal(shown[::25, ::25], np.asarray(Image.open(uri)))


def test_thumbnails_are_small(tmp_path: Path) -> None:
    assert max(opened(thumbnail(saved(tmp_path, 900, 300))).size) == THUMBNAIL_PX
    assert opened(thumbnail(saved(tmp_path, 8, 8))).size == (112, 112)
    assert opened(thumbnail(saved(tmp_path, 900, 300), Region(0, 0, 16, 8))).size == (112, 56)


@pytest.mark.parametrize("show", [whole, thumbnail])
def test_broken_files_and_regions_outside_are_told(show: object, tmp_path: Path) -> None:
    assert callable(show)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(DataError):
        show(str(tmp_path / "torn.png"))
    with pytest.raises(DataError, match="no such file"):
        show(str(tmp_path / "none.png"))
    with pytest.raises(DataError, match="does not lie inside"):
        show(saved(tmp_path, 40, 30), Region(20, 20, 32, 32))


def test_nothing_but_an_image_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_text("root:x:0:0")
    with pytest.raises(DataError):
        whole(str(tmp_path / "secret.png"))
