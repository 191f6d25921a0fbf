"""Sheets of images under their masks, beside what a model predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import command
from dense_pool import write_model
from foresift.app.pixels.mask_pictures import MaskSheet, colour_of, draw_masks, under_mask
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.masks import IGNORED
from images import png

pytestmark = pytest.mark.timeout(300)
SIDE = 64
IGNORE = 255


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three white images of 64 px: left half class 0, right half class 1, the second's right half ignored."""
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(3):
        values = np.zeros((SIDE, SIDE), dtype=np.uint8)
        values[:, SIDE // 2 :] = IGNORE if number == 1 else 1
        pixels = np.full((SIDE, SIDE, 3), 255 - number, dtype=np.uint8)
        (tmp_path / "data" / "images" / f"{number}.png").write_bytes(png(pixels))
        (tmp_path / "data" / "masks" / f"{number}.png").write_bytes(png(values))
    return tmp_path / "data"


def test_classes_have_their_colours_and_what_is_ignored_is_grey() -> None:
    codes = np.array([[0, 1], [9, IGNORED]], dtype=np.int16)
    drawn = under_mask(np.full((2, 2, 3), 255, dtype=np.uint8), codes).astype(int)
    for (row, column), code in {(0, 0): 0, (0, 1): 1, (1, 0): 9}.items():
        lighter = 0.4 * 255 + 0.6 * np.array(colour_of(code))
        np.testing.assert_allclose(drawn[row, column], lighter, atol=1)
    assert len(set(drawn[1, 1])) == 1
    assert drawn[1, 1, 0] < drawn[:1].max()


def test_a_hundred_classes_have_a_hundred_colours() -> None:
    assert len({colour_of(code) for code in range(100)}) == 100


def test_masks_of_a_root_without_a_model(root: Path, tmp_path: Path, home: Path) -> None:
    out = tmp_path / "masks.png"
    arguments = ("masks", root, "--out", out, "--ignore-index", IGNORE, "--size", SIDE, "--columns", 1, "--json")
    answer = command(*arguments, home=home)
    assert answer.code == 0, answer.err
    assert answer.json["classes"] == ["0", "1"]
    assert [one["labeled"] for one in answer.json["images"]] == [1.0, 0.5, 1.0]
    assert {one["right"] for one in answer.json["images"]} == {None}
    with Image.open(out) as sheet:
        picture = np.asarray(sheet.convert("RGB")).astype(int)
    panel = picture[:SIDE, 4 + SIDE + 4 : 4 + 2 * SIDE + 4]  # of the first image: its mask, beside the image itself
    np.testing.assert_allclose(panel[10, 5], 0.4 * 255 + 0.6 * np.array(colour_of(0)), atol=1)
    np.testing.assert_allclose(panel[10, -5], 0.4 * 255 + 0.6 * np.array(colour_of(1)), atol=1)


@pytest.mark.parametrize("size", [None, (32, 48)])
def test_the_share_that_a_model_has_right_is_the_one_that_evaluate_counts(
    root: Path, tmp_path: Path, home: Path, size: tuple[int, int] | None
) -> None:
    model = write_model(tmp_path / "model", classes=2, size=size)
    drawn = command(
        "masks", root, "--model", model, "--ignore-index", IGNORE, "--out", tmp_path / "m.png", "--json", home=home
    )
    assert drawn.code == 0, drawn.err
    assert drawn.json["classes"] == ["c0", "c1"]
    right = sum(one["right"] * one["labeled"] for one in drawn.json["images"])
    labeled = sum(one["labeled"] for one in drawn.json["images"])
    for file in (root / "masks").iterdir():  # evaluate takes what the model ignores, which is nothing
        values = np.asarray(Image.open(file))
        if (values == IGNORE).any():
            (root / "images" / file.name).unlink()
            kept = [one for one in drawn.json["images"] if Path(one["uri"]).name != file.name]
    measured = command("evaluate", root, "--model", model, "--json", home=home)
    assert measured.code == 0, measured.err
    whole = sum(one["right"] for one in kept) / len(kept)
    assert whole == pytest.approx(measured.json["pixel_accuracy"], abs=1e-6)
    assert 0 <= right / labeled <= 1


def test_images_are_spread_over_the_set(root: Path, tmp_path: Path, home: Path) -> None:
    what = MaskSheet(root=str(root), out=tmp_path / "two.png", ignore_index=(IGNORE,), count=2)
    drawn = draw_masks(Workspace.open(home), what)
    assert [Path(one.uri).name for one in drawn.images] == ["0.png", "2.png"]


def test_an_image_without_a_usable_mask_is_told_and_left_out(root: Path, tmp_path: Path, home: Path) -> None:
    (root / "masks" / "0.png").write_bytes(png(np.zeros((8, 8), dtype=np.uint8)))
    answer = command("masks", root, "--ignore-index", IGNORE, "--out", tmp_path / "m.png", "--json", home=home)
    assert answer.code == 0, answer.err
    assert len(answer.json["images"]) == 2
    assert "64x64 pixels, its mask 8x8" in answer.json["quarantined"][0]["reason"]


def test_what_can_not_be_drawn_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.png"):
        MaskSheet(root=str(root), out=tmp_path / "m.jpg")
    with pytest.raises(UsageError, match="brings its classes"):
        MaskSheet(root=str(root), out=tmp_path / "m.png", model="m", classes="a,b")
