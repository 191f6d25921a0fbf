"""From a selection to labeling tools and back, and its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from commands import command
from dense_pool import write_model, write_pool
from foresift.app.pixels.pictures import coloured, most_informative
from foresift.app.selecting.chosen import read_chosen
from foresift.core.masks import IGNORED, MaskClasses
from foresift.inference.decode import decode
from foresift.inference.masks import decode_mask
from foresift.sources.segmentation import masked_images
from images import png

pytestmark = pytest.mark.timeout(600)
PATCHES = ("--unit", "patch", "--patch", 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool, a model, and two selections: six patches, three images; not to be changed."""
    root = tmp_path_factory.mktemp("regions")
    images, model = write_pool(root / "images"), write_model(root / "gen")
    for name, options in (("patches", (*PATCHES, "--budget", 6)), ("images", ("--budget", 3))):
        arguments = ("--model", model, "--strategy", "entropy", "--out", root / f"{name}.csv")
        answer = command("select", images, *arguments, *options, home=root / "home")
        assert answer.code == 0, answer.err
    return root


def run(*arguments: object, home: Path) -> dict[str, object]:
    answer = command(*arguments, "--json", home=home)
    assert answer.code == 0, answer.err
    return answer.json


def crop(pick: object) -> np.ndarray:
    pixels = decode(Path(pick.uri).read_bytes())
    left, top, right, lower = pick.region.box
    return pixels[top:lower, left:right]


def test_crops_are_the_pixels_of_the_regions(folder: Path, tmp_path: Path, home: Path) -> None:
    run("export", folder / "patches.csv", "--format", "crops", "--out", tmp_path, home=home)
    lines = (tmp_path / "crops.csv").read_text().splitlines()
    assert lines[0] == "crop,id,uri,left,top,width,height"
    picks = read_chosen(folder / "patches.csv")
    assert len(lines) == 1 + len(picks)
    for pick in picks:
        np.testing.assert_array_equal(decode((tmp_path / "crops" / f"{pick.name}.png").read_bytes()), crop(pick))


def test_whole_images_are_no_crops(folder: Path, tmp_path: Path, home: Path) -> None:
    answer = command("export", folder / "images.csv", "--format", "crops", "--out", tmp_path, home=home)
    assert answer.code == 2
    assert "for patches" in answer.complaint


@pytest.mark.parametrize("name", ["patches", "images"])
def test_coco_has_a_box_for_each_pick(name: str, folder: Path, tmp_path: Path, home: Path) -> None:
    run("export", folder / f"{name}.csv", "--format", "coco", "--out", tmp_path, home=home)
    coco = json.loads((tmp_path / "annotations.json").read_text())
    assert [one["name"] for one in coco["categories"]] == ["to label", "c0", "c1", "c2", "c3"]
    images = {one["id"]: one for one in coco["images"]}
    boxes = {one["sample_id"]: one for one in coco["annotations"]}
    for pick in read_chosen(folder / f"{name}.csv"):
        image = images[boxes[pick.id]["image_id"]]
        height, width = decode(Path(pick.uri).read_bytes()).shape[:2]
        assert (image["file_name"], image["width"], image["height"]) == (pick.uri, width, height)
        assert boxes[pick.id]["bbox"] == list(pick.region or (0, 0, width, height))
    assert len({one["id"] for one in coco["annotations"]}) == len(boxes)


def test_label_studio_gets_one_task_an_image(folder: Path, tmp_path: Path, home: Path) -> None:
    arguments = ("--format", "label-studio", "--out", tmp_path, "--prefix", "/data/local-files/?d=")
    run("export", folder / "patches.csv", *arguments, home=home)
    tasks, picks = json.loads((tmp_path / "tasks.json").read_text()), read_chosen(folder / "patches.csv")
    assert [task["data"]["uri"] for task in tasks] == list(dict.fromkeys(pick.uri for pick in picks))
    for task in tasks:
        assert task["data"]["image"] == "/data/local-files/?d=" + task["data"]["uri"].lstrip("/")
        own = [pick for pick in picks if pick.uri == task["data"]["uri"]]
        for pick, drawn in zip(own, task["predictions"][0]["result"], strict=True):
            width, height, value = drawn["original_width"], drawn["original_height"], drawn["value"]
            found = [value["x"] * width, value["y"] * height, value["width"] * width, value["height"] * height]
            np.testing.assert_allclose(np.array(found) / 100, pick.region)
    names = [label.get("value") for label in ElementTree.parse(tmp_path / "config.xml").iter("Label")]
    assert names == ["to label", "c0", "c1", "c2", "c3"]


def returned(folder: Path, into: Path, *, skip: int = 0) -> dict[str, np.ndarray]:
    """One mask a crop, of random classes."""
    into.mkdir()
    masks = {}
    for seed, pick in enumerate(read_chosen(folder / "patches.csv")[skip:]):
        size = (pick.region.height, pick.region.width)
        masks[pick.name] = np.random.default_rng(seed).integers(0, 4, size=size, dtype=np.uint8)
        Image.fromarray(masks[pick.name]).save(into / f"{pick.name}.png")
    return masks


def test_returned_masks_become_partial_masks_of_whole_images(folder: Path, tmp_path: Path, home: Path) -> None:
    masks, out = returned(folder, tmp_path / "masks", skip=1), tmp_path / "labeled"
    done = run("import-masks", folder / "patches.csv", tmp_path / "masks", "--out", out, home=home)
    picks = read_chosen(folder / "patches.csv")
    assert (done["regions"], done["missing"]) == (5, 1)
    listing, classes = masked_images(out), MaskClasses.numbered([f"c{i}" for i in range(4)], ignored=(255,))
    assert len(listing.images) == done["images"] == len({pick.uri for pick in picks[1:]})
    labeled = 0
    for image, mask in zip(listing.images, listing.masks, strict=True):
        codes = classes.codes(mask.read(decode_mask)[0])
        assert codes.shape == decode(Path(image).read_bytes()).shape[:2]
        expected = np.full(codes.shape, IGNORED)
        for pick in [pick for pick in picks[1:] if Path(image).resolve() == Path(pick.uri).resolve()]:
            left, top, right, lower = pick.region.box
            expected[top:lower, left:right] = masks[pick.name]
            labeled += pick.region.pixels
        np.testing.assert_array_equal(codes, expected)
    assert labeled == sum(pick.region.pixels for pick in picks[1:])


def test_classes_travel_with_the_masks(folder: Path, tmp_path: Path, home: Path) -> None:
    returned(folder, tmp_path / "masks")
    out, arguments = tmp_path / "labeled", (folder / "patches.csv", tmp_path / "masks", "--out", tmp_path / "labeled")
    said = command("import-masks", *arguments, home=home).err
    assert f"next: foresift train {out} --task segmentation --model linknet:mobilenetv3_small_050 --out DIR" in said
    known = masked_images(out).classes
    assert known == MaskClasses(classes=("c0", "c1", "c2", "c3"), values=(0, 1, 2, 3), ignored=(255,))
    assert "is the class 'c3'" in command("import-masks", *arguments, "--ignore-index", 3, home=home).complaint
    assert "brings its classes" in command("import-masks", *arguments, "--classes", "2", home=home).complaint
    (out / "classes.json").write_text('{"classes": ["a", "b"], "values": [0, 1], "ignored": []}')
    assert "masks of other classes (a, b)" in command("import-masks", *arguments, home=home).complaint
    (out / "classes.json").write_text('{"classes": 3}')
    assert "expected the lists classes, values and ignored" in command("import-masks", *arguments, home=home).complaint


def test_classes_of_a_selection_without_a_model_are_given(folder: Path, tmp_path: Path, home: Path) -> None:
    first = tmp_path / "first.csv"
    arguments = ("--strategy", "random", *PATCHES, "--budget", 2, "--out", first)
    assert command("select", folder / "images", *arguments, home=home).code == 0
    masks, out = tmp_path / "masks", tmp_path / "labeled"
    masks.mkdir()
    for pick in read_chosen(first):
        Image.fromarray(np.zeros((pick.region.height, pick.region.width), dtype=np.uint8)).save(
            masks / f"{pick.name}.png"
        )
    said = command("import-masks", first, masks, "--out", out, home=home).err
    assert "--model HEAD:ENCODER --ignore-index 255 --classes NAMES --out DIR" in said
    assert masked_images(out).classes is None
    run("import-masks", first, masks, "--out", out, "--classes", "ground,square", home=home)
    assert masked_images(out).classes == MaskClasses(classes=("ground", "square"), values=(0, 1), ignored=(255,))
    returned(folder, tmp_path / "later")
    refused = command("import-masks", folder / "patches.csv", tmp_path / "later", "--out", out, home=home)
    assert "masks of other classes" in refused.complaint


def test_masks_of_a_later_round_are_painted_beside_the_first(folder: Path, tmp_path: Path, home: Path) -> None:
    out = tmp_path / "labeled"
    returned(folder, tmp_path / "first", skip=3)
    returned(folder, tmp_path / "all")
    run("import-masks", folder / "patches.csv", tmp_path / "first", "--out", out, home=home)
    run("import-masks", folder / "patches.csv", tmp_path / "all", "--out", out, home=home)
    once = tmp_path / "once"
    run("import-masks", folder / "patches.csv", tmp_path / "all", "--out", once, home=home)
    for file in (once / "masks").iterdir():
        np.testing.assert_array_equal(
            decode_mask(file.read_bytes()), decode_mask((out / "masks" / file.name).read_bytes())
        )


def test_a_mask_of_a_whole_image_serves_all_of_its_regions(folder: Path, tmp_path: Path, home: Path) -> None:
    pick = read_chosen(folder / "patches.csv")[0]
    height, width = decode(Path(pick.uri).read_bytes()).shape[:2]
    whole = np.random.default_rng(0).integers(0, 4, size=(height, width), dtype=np.uint8)
    (tmp_path / "masks").mkdir()
    Image.fromarray(whole).save(tmp_path / "masks" / f"{Path(pick.uri).stem}.png")
    run("import-masks", folder / "patches.csv", tmp_path / "masks", "--out", tmp_path / "out", home=home)
    found = decode_mask((tmp_path / "out" / "masks" / f"{pick.image_name}.png").read_bytes())
    left, top, right, lower = pick.region.box
    np.testing.assert_array_equal(found[top:lower, left:right], whole[top:lower, left:right])
    assert (found == 255).any()


def test_masks_that_fit_nothing_are_refused_in_one_line(folder: Path, tmp_path: Path, home: Path) -> None:
    pick = read_chosen(folder / "patches.csv")[0]
    cases = {
        "unknown.png": (png(np.zeros((32, 32), dtype=np.uint8)), "belongs to no pick"),
        f"{pick.name}.png": (
            png(np.zeros((31, 32), dtype=np.uint8)),
            f"is 32 x 31 pixels; expected {pick.region.width} x {pick.region.height}",
        ),
    }
    for name, (data, said) in cases.items():
        masks = tmp_path / f"masks of {name}"
        masks.mkdir()
        (masks / name).write_bytes(data)
        answer = command("import-masks", folder / "patches.csv", masks, "--out", tmp_path / "out", home=home)
        assert answer.code == 1
        assert said in answer.complaint
    (tmp_path / "empty").mkdir()
    answer = command("import-masks", folder / "patches.csv", tmp_path / "empty", "--out", tmp_path / "out", home=home)
    assert "holds no PNG file" in answer.complaint
    assert not (tmp_path / "out" / "masks").exists()


def test_a_heatmap_frames_the_most_informative_patches(folder: Path, tmp_path: Path) -> None:
    image, home = folder / "images" / "0.png", folder / "home"
    arguments = ("--model", folder / "gen", "--patch", 32, "--top", 3)
    drawn = run("heatmap", image, *arguments, "--out", tmp_path / "map.png", home=home)
    means = [one["mean"] for one in drawn["patches"]]
    assert len(means) == 3
    assert means == sorted(means, reverse=True)
    assert means[0] >= drawn["mean"]
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (128, 96)


def test_a_heatmap_frames_what_a_selection_names(folder: Path, tmp_path: Path) -> None:
    pick = read_chosen(folder / "patches.csv")[0]
    arguments = ("--model", folder / "gen", "--selection", folder / "patches.csv", "--out", tmp_path / "map.png")
    drawn = run("heatmap", pick.uri, *arguments, home=folder / "home")
    own = [one for one in read_chosen(folder / "patches.csv") if one.uri == pick.uri]
    assert [(one["left"], one["top"]) for one in drawn["patches"]] == [one.region[:2] for one in own]
    assert drawn["patches"][0]["mean"] == pytest.approx(float(pick.score), rel=1e-3)


def test_colours_run_from_nothing_to_the_largest() -> None:
    colours = coloured(np.array([[0.0, 1.0, 2.0]]))
    assert colours[0].sum(axis=1).tolist() == sorted(colours[0].sum(axis=1).tolist())
    np.testing.assert_array_equal(coloured(np.zeros((2, 2))), np.broadcast_to(colours[0, 0], (2, 2, 3)))


def test_the_most_informative_patch_is_that_of_the_largest_mean() -> None:
    values = np.zeros((70, 70))
    values[64:, 64:] = 1
    values[0, 0] = 5
    assert most_informative(values, patch=32, top=2) == [(64, 64, 6, 6), (0, 0, 32, 32)]


@pytest.mark.parametrize(("name", "count"), [("patches", 6), ("images", 3)])
def test_a_sheet_shows_every_pick(name: str, count: int, folder: Path, tmp_path: Path, home: Path) -> None:
    arguments = ("--out", tmp_path / "sheet.png", "--columns", 4, "--size", 40)
    assert run("sheet", folder / f"{name}.csv", *arguments, home=home)["images"] == count
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (min(count, 4) * 40, -(-count // 4) * 56)


def test_what_is_no_selection_is_refused(folder: Path, tmp_path: Path, home: Path) -> None:
    (tmp_path / "other.csv").write_text("name\nx\n")
    for arguments in (("sheet",), ("export", "--format", "coco")):
        answer = command(arguments[0], tmp_path / "other.csv", *arguments[1:], "--out", tmp_path / "o.png", home=home)
        assert answer.code == 1
        assert "expected the columns id and uri" in answer.complaint
