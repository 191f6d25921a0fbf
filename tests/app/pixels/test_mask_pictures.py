"""Sheets of images under their masks, beside what a model predicts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foresift
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
    (root / "images" / "1.png").unlink()  # of its mask the model knows half of the values only
    (root / "masks" / "1.png").unlink()
    model, out = write_model(tmp_path / "model", classes=2, size=size), tmp_path / "m.png"
    drawn = command("masks", root, "--model", model, "--size", SIDE, "--out", out, "--json", home=home)
    assert drawn.code == 0, drawn.err
    assert drawn.json["classes"] == ["c0", "c1"]
    measured = command("evaluate", root, "--model", model, "--json", home=home)
    assert measured.code == 0, measured.err
    right = [one["right"] for one in drawn.json["images"]]
    assert sum(right) / 2 == pytest.approx(measured.json["pixel_accuracy"], abs=1e-6)
    with Image.open(out) as sheet:
        picture = np.asarray(sheet.convert("RGB")).astype(int)
    panel = picture[:SIDE, 4 + 2 * (SIDE + 4) : 4 + 2 * (SIDE + 4) + SIDE]
    shown = [np.abs(panel - (0.4 * 255 + 0.6 * np.array(colour_of(code)))).max(axis=2) < 2 for code in (0, 1)]
    assert (shown[0] | shown[1]).all()
    agreeing = shown[0][:, : SIDE // 2].sum() + shown[1][:, SIDE // 2 :].sum()
    assert agreeing / SIDE**2 == pytest.approx(right[0], abs=1e-6)


def test_what_the_layout_ignores_is_ignored_with_a_model_too(root: Path, tmp_path: Path, home: Path) -> None:
    named = {"classes": ["c0", "c1"], "values": [0, 1], "ignored": [IGNORE]}
    (root / "classes.json").write_text(json.dumps(named))
    model = write_model(tmp_path / "model", classes=2)
    drawn = command("masks", root, "--model", model, "--out", tmp_path / "m.png", "--json", home=home)
    assert drawn.code == 0, drawn.err
    assert [one["labeled"] for one in drawn.json["images"]] == [1.0, 0.5, 1.0]
    other = {**named, "classes": ["c0", "another"]}
    (root / "classes.json").write_text(json.dumps(other))
    refused = command("masks", root, "--model", model, "--out", tmp_path / "m2.png", home=home)
    assert refused.code != 0
    assert "the value 1 is 'another' in the data, and 'c1' to" in refused.err


def test_images_are_spread_over_the_set(root: Path, tmp_path: Path, home: Path) -> None:
    what = MaskSheet(root=str(root), out=tmp_path / "two.png", ignore_index=(IGNORE,), count=2)
    drawn = draw_masks(Workspace.open(home), what)
    assert [Path(one.uri).name for one in drawn.images] == ["0.png", "2.png"]


def test_an_image_that_can_not_be_drawn_is_told_and_gives_its_place_to_another(
    root: Path, tmp_path: Path, home: Path
) -> None:
    (root / "masks" / "0.png").write_bytes(png(np.zeros((8, 8), dtype=np.uint8)))
    arguments = ("masks", root, "--classes", "a,b", "--ignore-index", IGNORE, "--count", 2, "--out", tmp_path / "m.png")
    answer = command(*arguments, "--json", home=home)
    assert answer.code == 0, answer.err
    assert [Path(one["uri"]).name for one in answer.json["images"]] == ["1.png", "2.png"]
    assert [one["reason"] for one in answer.json["quarantined"]] == ["the image is 64x64 pixels, its mask 8x8"]
    told = command(*arguments, home=home)
    assert "m.png: 2 images, 2 classes" in told.out
    assert "its mask 8x8" in told.err
    for file in (root / "masks").iterdir():
        file.write_bytes(b"no image")
    refused = command(*arguments, home=home)
    assert refused.code != 0
    assert "no image can be drawn; the first" in refused.err


def test_copies_are_drawn_and_an_image_without_a_label_is_told(root: Path, tmp_path: Path, home: Path) -> None:
    for name in ("3.png", "4.png"):
        (root / "images" / name).write_bytes((root / "images" / "0.png").read_bytes())
    (root / "masks" / "3.png").write_bytes((root / "masks" / "0.png").read_bytes())
    (root / "masks" / "4.png").write_bytes(png(np.full((SIDE, SIDE), IGNORE, dtype=np.uint8)))
    model = write_model(tmp_path / "model", classes=2)
    drawn = foresift.masks(root, tmp_path / "m.png", model=model, ignore_index=[IGNORE], columns=3, home=home)
    assert [one.labeled for one in drawn.images] == [1.0, 0.5, 1.0, 1.0]
    assert drawn.images[0].right == drawn.images[3].right
    (left_out,) = drawn.quarantined
    assert Path(left_out.uri).name == "4.png"
    assert "ignored" in left_out.reason


def test_long_strange_and_thin_things_fit_the_sheet(root: Path, tmp_path: Path, home: Path) -> None:
    for kind, pixels in (("images", np.full((2000, 4, 3), 9)), ("masks", np.ones((2000, 4)))):
        (root / kind / f"{'long' * 30}-\u9f8d.png").write_bytes(png(pixels.astype(np.uint8)))
    names = ",".join(["\u9f8d" * 3, "W" * 200])
    drawn = foresift.masks(
        root, tmp_path / "m.png", classes=names, ignore_index=[IGNORE], columns=2, side=48, home=home
    )
    assert len(drawn.images) == 4
    with Image.open(tmp_path / "m.png") as sheet:
        assert sheet.width == 2 * (2 * (48 + 4) + 8)


def test_a_sheet_beyond_any_picture_is_refused(root: Path, tmp_path: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="give a smaller --size"):
        foresift.masks(root, tmp_path / "m.png", ignore_index=[IGNORE], side=12_000, count=1, home=home)


def test_what_can_not_be_drawn_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.png"):
        MaskSheet(root=str(root), out=tmp_path / "m.jpg")
    with pytest.raises(UsageError, match="brings its classes"):
        MaskSheet(root=str(root), out=tmp_path / "m.png", model="m", classes="a,b")
