"""Segmentation as a person would type it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import Answer, command
from segmentation_files import write_squares

MODEL = "deeplabv3plus:mobilenetv3_small_100"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of squares and a model that has seen them for one epoch; not to be changed."""
    folder = tmp_path_factory.mktemp("world")
    write_squares(folder / "squares", count=4)
    write_squares(folder / "squares", split="test", count=2)
    told = run(folder, *training(folder))
    assert told.code == 0, told.err
    (folder / "told.txt").write_text(told.out)
    return folder


def training(folder: Path) -> list[object]:
    return [
        *("train", folder / "squares", "--task", "segmentation", "--model", MODEL, "--split", "train"),
        *("--val-split", "test", "--ignore-index", "9", "--image-size", "16x12", "--classes", "ground,square"),
        *("--epochs", 1, "--batch-size", 2, "--class-weights", "balanced", "--crop", "12x8", "--out", folder / "gen"),
    ]


def run(folder: Path, *args: object) -> Answer:
    return command(*args, home=folder / "home")


def test_training_says_what_came_of_it(world: Path) -> None:
    told = (world / "told.txt").read_text()
    assert f"{MODEL}, 2 classes, 16x12 px, from scratch" in told
    assert "trained on 4 images with masks, seed 0, " in told
    assert "class   pixels  IoU" in told
    again = run(world, *training(world), "--json").json
    assert again["recipe"]["crop"] == [8, 12]
    assert again["recipe"]["class_weights"] == "balanced"
    assert again["task"] == "segmentation"
    assert again["images_per_s"] is None


def test_the_books_name_its_miou_its_device_and_its_images(world: Path, tmp_path: Path) -> None:
    args = [*training(world)[:-1], tmp_path / "gen", "--target", "jetson-tx2"]
    made = run(tmp_path, *args, "--json").json
    (one,) = run(tmp_path, "generations", "list", "--json").json["generations"]
    assert (one["generation"], one["target"], one["architecture"]) == (made["id"], "jetson-tx2", MODEL)
    assert [(part["receipt"], part["labels"]) for part in one["brought"]] == [("", 4)]
    miou = f"mIoU {100 * one['metrics']['val']['miou']:.1f} %"
    assert miou in run(tmp_path, "generations", "list").out
    lines = run(tmp_path, "generations", "lineage", "--picture", tmp_path / "line.svg").out.splitlines()
    assert f"  {miou} on {world}/squares/images/test" in lines
    assert "  4 masks that came without a receipt" in lines
    assert "  meant for jetson-tx2" in lines
    assert miou in (tmp_path / "line.svg").read_text()
    assert "unknown device 'jetson'" in run(tmp_path, *training(world), "--target", "jetson").complaint


def test_evaluation_prints_a_table_of_ious(world: Path) -> None:
    told = run(world, "evaluate", world / "squares", "--model", world / "gen", "--split", "test")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].startswith("mIoU ")
    assert lines[0].endswith("of 2 images")
    assert lines[2].split() == ["class", "pixels", "IoU", "accuracy", "most", "often", "taken", "for"]
    assert [line.split()[0] for line in lines[3:]] == ["ground", "square"]
    assert lines[4].split()[1] == "200"
    plain = run(world, "evaluate", world / "squares", "--model", world / "gen", "--split", "test", "--json").json
    assert plain["classes"] == ["ground", "square"]
    assert len(plain["iou"]) == 2


@pytest.mark.parametrize(
    ("args", "told", "code"),
    [
        (["evaluate", "squares", "--model", "gen"], "has the splits test, train; choose one with --split", 2),
        (["evaluate", "squares", "--model", "gen", "--split", "val"], "no split 'val' (has: test, train)", 2),
        (["evaluate", "squares", "--model", "gen", "--labels", "x.csv"], "--labels is no option for segmentation", 2),
        (["evaluate", "squares", "--model", "none"], "no generation 'none'", 1),
        (["predict", "squares", "--model", "gen"], "a segmentation model, expected a classifier", 1),
        (["train", "squares", "--model", MODEL, "--out", "new"], "train it with --task segmentation", 1),
        (["train", "squares", "--model", "mlp", "--out", "new", "--crop", "8x8"], "--crop is no option for class", 2),
        (["train", "squares", "--model", "mlp", "--out", "new", "--image-size", "8x8"], "the side of a square", 2),
        (["train", "squares", "--model", MODEL, "--out", "new", "--task", "masks"], "--task masks: expected", 2),
    ],
)
def test_bad_input_gives_one_clear_line(
    world: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], told: str, code: int
) -> None:
    monkeypatch.chdir(world)
    answered = run(world, *args)
    assert told in answered.complaint
    assert answered.code == code
    assert not (world / "new").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", MODEL, "--pretrained"], "--pretrained is no option for segmentation"),
        (["--model", MODEL, "--train", "head"], "--train head is no option for segmentation"),
        (["--model", MODEL, "--image-size", "240"], "--image-size 240: expected WIDTHxHEIGHT"),
        (["--model", MODEL, "--crop", "240"], "--crop 240: expected WIDTHxHEIGHT"),
        (["--model", MODEL, "--ignore-index", "x"], "--ignore-index x: expected a mask value"),
        (["--model", MODEL, "--schedule", "onecycle"], "schedule must be one of poly"),
        (["--model", "unet:resnet81"], "unknown encoder 'resnet81'"),
        (["--model", "unett:resnet18"], "did you mean 'unet'"),
        (["--model", MODEL, "--layout", "voc"], "is not laid out as voc: expected JPEGImages/"),
    ],
)
def test_bad_training_gives_one_clear_line(
    world: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: str
) -> None:
    monkeypatch.chdir(world)
    answered = run(world, "train", "squares", "--task", "segmentation", "--out", "new", *options, "--split", "train")
    assert told in answered.complaint
    assert answered.code in (1, 2)
    assert not (world / "new").exists()


def test_the_same_call_gives_the_same_generation_and_leaves_nothing_beside_it(world: Path, tmp_path: Path) -> None:
    args = [*training(world)[:-1], tmp_path / "gen"]
    first = run(tmp_path, *args, "--json").json
    shutil.rmtree(tmp_path / "gen")
    second = run(tmp_path, *args, "--json").json
    assert first["id"] == second["id"]
    assert not (tmp_path / "gen.training").exists()
