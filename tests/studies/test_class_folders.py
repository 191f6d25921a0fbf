"""Folders of classes: decoded once and in order, taken up where it was interrupted, refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foresift.core.errors import DataError, UsageError
from foresift.core.generations import Transform
from foresift.core.protocols import Silent
from foresift.inference.transform import load
from foresift.studies.class_folders import class_folders
from foresift.studies.image_sets import ImageSet

SIDE = 16
ROW = 3 * SIDE**2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 1)):
        for name in ("n02", "n01"):
            for at in range(count):
                path = tmp_path / "data" / "mine" / part / name / f"{at}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (30, 20 + at, 3), dtype=np.uint8)).save(path, format="JPEG")
    (tmp_path / "data" / "mine" / "train" / "n01" / "notes.txt").write_text("no image")
    return tmp_path / "data"


def made(data: Path, side: int = SIDE) -> ImageSet:
    return class_folders("mine", data, side=side, cache=data.parent / "cache", progress=Silent())


def files(data: Path) -> list[Path]:
    return sorted((data.parent / "cache").glob("*.rgb"))


def test_rows_are_images_in_order_of_path_and_stay_on_disk(data: Path) -> None:
    got = made(data)
    paths = [data / "mine" / "train" / name / f"{at}.JPEG" for name in ("n01", "n02") for at in range(3)]
    transform = Transform(size=SIDE, resize="crop")
    assert got.transform == transform
    assert np.array_equal(got.pixels, np.stack([load(path.read_bytes(), transform) for path in paths]))
    assert isinstance(got.pixels, np.memmap)
    assert not got.pixels.flags.writeable
    assert got.classes == ("n01", "n02")
    assert got.codes.tolist() == [0, 0, 0, 1, 1, 1]
    assert got.test_codes.tolist() == [0, 1]
    assert sum(file.stat().st_size for file in files(data)) == 8 * ROW


def test_nothing_is_decoded_twice_and_other_images_are_another_file(data: Path) -> None:
    first = made(data)
    stamps = [file.stat().st_mtime_ns for file in files(data)]
    assert made(data).name == first.name
    assert [file.stat().st_mtime_ns for file in files(data)] == stamps
    (data / "mine" / "train" / "n02" / "2.JPEG").unlink()
    assert len(made(data).pixels) == 5
    assert made(data, side=8).pixels.shape == (5, 8, 8, 3)


def test_interrupted_decoding_goes_on_after_the_last_whole_image(data: Path) -> None:
    whole = np.array(made(data).pixels)
    (path,) = (file for file in files(data) if file.name.endswith("-train.rgb"))
    path.unlink()
    # Two images that no decoder made, and half of a third.
    path.with_suffix(".partial").write_bytes(bytes([7]) * (2 * ROW + ROW // 2))
    again = made(data).pixels
    assert (again[:2] == 7).all(), "what was finished is not decoded again"
    assert np.array_equal(again[2:], whole[2:])
    assert not path.with_suffix(".partial").exists()


def test_an_image_that_was_replaced_makes_another_set(data: Path) -> None:
    first = made(data)
    path = data / "mine" / "train" / "n02" / "1.JPEG"
    Image.fromarray(np.zeros((30, 20, 3), dtype=np.uint8)).save(path, format="JPEG")
    second = made(data)
    assert second.name != first.name
    assert not second.pixels[4].any()
    assert np.array_equal(np.delete(second.pixels, 4, axis=0), np.delete(np.array(made(data).pixels), 4, axis=0))


def test_decoding_goes_on_before_the_first_image_that_was_replaced(data: Path) -> None:
    whole = np.array(made(data).pixels)
    (path,) = (file for file in files(data) if file.name.endswith("-train.rgb"))
    path.unlink()
    path.with_suffix(".partial").write_bytes(bytes([7]) * (3 * ROW))
    replaced = data / "mine" / "train" / "n01" / "1.JPEG"
    replaced.write_bytes((data / "mine" / "train" / "n01" / "2.JPEG").read_bytes())
    again = made(data).pixels
    assert (again[0] == 7).all(), "what came before is not decoded again"
    assert np.array_equal(again[1], whole[2])
    assert np.array_equal(again[2:], whole[2:])


def test_the_same_names_elsewhere_are_another_set(data: Path) -> None:
    first = made(data)
    shutil.copytree(data / "mine", data / "there" / "mine")
    there = class_folders("mine", data / "there", side=SIDE, cache=data.parent / "cache", progress=Silent())
    assert there.name != first.name


def test_without_a_test_part_its_files_are_not_opened(data: Path) -> None:
    for file in (data / "mine" / "val").rglob("*.JPEG"):
        file.write_bytes(b"broken")
    got = class_folders("mine", data, side=SIDE, cache=data.parent / "cache", progress=Silent(), with_test=False)
    assert (len(got.pixels), len(got.test_pixels), len(got.test_codes)) == (6, 0, 0)


def test_a_broken_image_is_named_and_mending_it_is_enough(data: Path) -> None:
    broken = data / "mine" / "train" / "n02" / "1.JPEG"
    right = broken.read_bytes()
    broken.write_bytes(right[:200])
    with pytest.raises(DataError, match=r"n02/1\.JPEG"):
        made(data)
    assert not files(data)
    broken.write_bytes(right)
    assert len(made(data).pixels) == 6


def test_other_layouts_are_refused_with_what_is_expected(data: Path) -> None:
    with pytest.raises(UsageError, match="side: 224"):
        made(data, side=0)
    with pytest.raises(DataError, match=r"other/train: no such folder; expected other/train/CLASS/\*\.JPEG"):
        class_folders("other", data, side=SIDE, cache=data, progress=Silent())
    (data / "mine" / "val" / "n01" / "0.JPEG").unlink()
    with pytest.raises(DataError, match="same classes; only one of them has: n01"):
        made(data)
