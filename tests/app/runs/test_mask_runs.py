"""Runs whose labels are masks, round by round: to the end, stopped, killed, and given what makes no sense."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from commands import command, start
from foresift.app.runs.files import read_as_classes, read_run_file
from foresift.app.runs.lifecycle import Watch, carry_on, start_run
from foresift.app.runs.reports import report
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import UsageError
from foresift.core.regions import split_id
from foresift.stores.generations import read_segmentation
from mask_runs import PATCHES, RECIPE, asked_in, outcome, ran, truth_of, write
from segmentation_files import write_png, write_squares

pytestmark = pytest.mark.timeout(600)


@pytest.mark.usefixtures("in_process")
def test_a_run_on_masks_ends_with_its_rounds_and_repeated_reports_them(squares: Path, tmp_path: Path) -> None:
    file, home = write(tmp_path, squares), tmp_path / "home"
    told = ran(home, file)
    assert told["state"] == "finished"
    assert [(len(one["selected"]), one["labels"]) for one in told["rounds"]] == [(3, 3), (3, 6)]
    assert len({sample for one in told["rounds"] for sample in one["selected"]}) == 6
    for one in told["rounds"]:
        assert 0 <= one["metrics"]["miou"] <= 1
        assert one["metrics"]["n"] == 2, "a fifth of ten"
        assert len(one["metrics"]["iou"]) == 2
    assert ran(home, file) == told
    kept = Workspace.open(home).records().labels(run=told["run"])
    images = {digest_bytes(path.read_bytes()): path for path in (squares / "images" / "train").iterdir()}
    for one in kept:
        mask = truth_of(images[str(one.sample_id)])
        assert one.value == f"masks/{digest_bytes(mask.read_bytes())}.png"
        assert (home / one.value).read_bytes() == mask.read_bytes()
    shown = command("runs", "show", told["run"], home=home)
    assert "finished: the budget is used up" in shown.out
    assert command("runs", "prune", "--keep-last", 0, "--json", home=home).code == 0


@pytest.mark.usefixtures("in_process")
def test_a_run_that_is_stopped_after_every_round_ends_with_the_same_ids_and_weights(
    squares: Path, tmp_path: Path
) -> None:
    told = []
    for name, watch in (("whole", Watch()), ("stopped", Watch(done=_stop))):
        workspace = Workspace.open(tmp_path / name)
        run = start_run(workspace, write(tmp_path, squares))
        while not workspace.records().run(run.id).is_over:
            with contextlib.suppress(_StopError):
                carry_on(workspace, run.id, watch=watch)
        told.append(outcome(report(workspace, workspace.records().run(run.id))))
    assert told[0] == told[1]


class _StopError(Exception):
    """Ctrl-C, right after a round."""


def _stop(_run: object, _rounds: object) -> None:
    raise _StopError


def test_a_run_killed_in_its_training_ends_like_an_undisturbed_one(squares: Path, tmp_path: Path) -> None:
    file = write(tmp_path, squares, rounds=1, recipe={**RECIPE, "epochs": 12})
    whole = ran(tmp_path / "whole", file)
    home = tmp_path / "killed"
    with start("run", file, "--json", home=home) as running:
        _until(lambda: list(home.glob("runs/*/generations/*.training/last.ckpt")))
        family = [running, *psutil.Process(running.pid).children()]
        for one in family:
            one.kill()
        running.communicate(timeout=60)
    records = Workspace.open(home).records()
    states = [one.state for one in records.rounds(records.runs()[0].id)]
    assert states == ["training"], "it was to be killed before its round was done"
    assert outcome(ran(home, file)) == outcome(whole)


def _until(there: Any) -> None:
    deadline = time.monotonic() + 240
    while not there():
        assert time.monotonic() < deadline, "no training began"
        time.sleep(0.05)


@pytest.mark.usefixtures("in_process")
def test_a_run_is_measured_on_another_split_and_knows_its_classes_by_name(squares: Path, tmp_path: Path) -> None:
    told = ran(tmp_path / "home", write(tmp_path, squares, evaluation="test", classes=["ground", "square"], rounds=1))
    assert told["rounds"][0]["metrics"]["n"] == 2
    assert (told["pool"]["size"], told["config"]["classes"]) == (10, ["ground", "square"])
    other = ran(tmp_path / "home", write(tmp_path, squares, evaluation=f"{squares}/test", rounds=1))
    assert other["rounds"][0]["metrics"]["n"] == 2


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"model": "resnet8"}, "resnet8"),
        ({"split": None}, "has the splits test, train; choose one with split: NAME"),
        ({"split": "val"}, "has no split 'val' (has: test, train)"),
        ({"evaluation": "val"}, "has no split 'val' (has: test, train)"),
        ({"strategy": "badge"}, "strategy badge needs"),
        (
            {"ignore_index": None, "classes": ["ground", "square"]},
            "the mask holds the unknown value 9 (classes: 0 g",
        ),
        ({"budget": 9}, "budget 9 is more than the 8 samples"),
        ({"oracle": "people"}, "masks come by oracle: folders or oracle: files"),
        ({"image_size": 64}, "image_size: with masks expected WIDTHxHEIGHT"),
        ({"recipe": {"epoch": 1}}, "recipe: unknown field 'epoch'; did you mean 'epochs'?"),
        ({"recipe": {"lr": "fast"}}, "recipe: lr must be a number, got 'fast'"),
        ({"recipe": {"momentum": [0.9]}}, "recipe: momentum must be a number, got [0.9]"),
        ({"recipe": {"crop": 64}}, "recipe: crop must be a height and a width of at least 1, got 64"),
        ({"recipe": {"augment": "none"}}, "recipe: unknown field 'augment'"),
        ({"strategy": "random", "aggregate": "mean"}, "aggregate goes with a score of pixels"),
        ({"aggregate": "men"}, "aggregate: must be mean, max or top-patches"),
        ({"task": "classification"}, "split is for labels that are masks"),
        ({"guards": {"max_per_class": 2}}, "max_per_class needs one class an image"),
        ({"guards": {"max_per_group": 2}}, "max_per_group needs a table with groups"),
    ],
)
@pytest.mark.usefixtures("in_process")
def test_a_file_that_makes_no_sense_is_told_in_one_line(
    squares: Path, tmp_path: Path, changed: dict[str, Any], complaint: str
) -> None:
    answer = command("run", write(tmp_path, squares, **changed), home=tmp_path / "home")
    assert answer.code in (1, 2)
    assert complaint in answer.complaint
    assert command("runs", "list", "--json", home=tmp_path / "home").json["runs"] == []


@pytest.mark.usefixtures("in_process")
def test_images_that_can_not_be_used_are_left_out_with_the_reason(tmp_path: Path) -> None:
    root, home = write_squares(tmp_path / "squares", count=10), tmp_path / "home"
    write_png(root / "masks" / "train" / "00.png", np.full((24, 32), 9, dtype=np.uint8))
    (root / "masks" / "train" / "01.png").unlink()
    (root / "images" / "train" / "02.png").write_bytes(b"no image")
    told = ran(home, write(tmp_path, root))
    assert told["pool"]["size"] + told["pool"]["evaluation"] == 7
    told_of = "\n".join(told["notes"])
    assert "2 images left out: " in told_of
    assert "02.png: not an image" in told_of
    assert "00.png: every pixel of the mask is ignored" in told_of
    assert "1 images without a mask are left out" in told_of
    drawn = write(tmp_path, root, oracle="files")
    assert ran(home, drawn)["pool"]["evaluation"] == 0, "people are to draw the mask that is missing"
    (root / "images" / "train" / "01.png").unlink()
    (root / "images" / "train" / "03.png").write_bytes((root / "images" / "train" / "04.png").read_bytes())
    measured = ran(tmp_path / "other", drawn)["pool"]
    assert (measured["size"], measured["evaluation"]) == (6, 1), "masks that can't be used hold nothing up"


@pytest.mark.usefixtures("in_process")
def test_a_mask_of_the_pool_that_changes_meanwhile_stops_the_run_until_it_is_back(tmp_path: Path) -> None:
    root, home = write_squares(tmp_path / "squares", count=10), tmp_path / "home"
    file = write(tmp_path, root)
    whole = ran(tmp_path / "whole", file)
    workspace = Workspace.open(home)
    start_run(workspace, file)
    masks = root / "masks" / "train"
    shutil.copytree(masks, tmp_path / "before")
    for mask in masks.iterdir():
        write_png(mask, np.ones((24, 32), dtype=np.uint8))
    answer = command("run", file, home=home)
    assert answer.code == 2
    assert "was changed since the run began; put it back" in answer.err
    shutil.copytree(tmp_path / "before", masks, dirs_exist_ok=True)
    assert outcome(ran(home, file)) == outcome(whole)


@pytest.mark.usefixtures("in_process")
def test_a_run_of_classes_begun_before_masks_were_known_goes_on(tmp_path: Path) -> None:
    root, home = write_squares(tmp_path / "pool", count=12), tmp_path / "home"
    keys = {"model": "mlp:8", "strategy": "random", "rounds": 1, "split": None, "ignore_index": None}
    keys |= {"oracle": "files:settle=0", "evaluation": "none", "classes": ["cat", "dog"], "recipe": {"augment": "none"}}
    begun = start_run(Workspace.open(home), write(tmp_path, root, task="classification", **keys))
    assert begun.config.get("task", "classification") == "classification"
    told = ran(home, write(tmp_path, root, **keys))
    assert told["run"] == begun.id
    assert "fill in column label of" in told["reason"]
    assert read_as_classes(write(tmp_path, root, task="segmentation", **keys)) is None, "it says what it means"


@pytest.mark.parametrize("oracle", ["people", "label-studio:url=http://localhost:1,project=1"])
def test_an_oracle_of_classes_is_asked_for_classes_unless_a_key_speaks_of_masks(tmp_path: Path, oracle: str) -> None:
    root = write_squares(tmp_path / "squares")
    keys = {"oracle": oracle, "model": "mlp:8", "ignore_index": None}
    assert read_run_file(write(tmp_path, root, **keys, split=None)).task == "classification"
    with pytest.raises(UsageError, match="brings classes; masks come by"):
        read_run_file(write(tmp_path, root, **keys))


def test_boxes_beside_images_are_no_masks(tmp_path: Path) -> None:
    root = write_squares(tmp_path / "boxes")
    (root / "masks").rename(tmp_path / "masks")
    (root / "annotations").mkdir()
    (root / "annotations" / "00.xml").write_text("<annotation/>")
    keys = {"model": "mlp:8", "split": None, "ignore_index": None}
    assert read_run_file(write(tmp_path, root, **keys)).task == "classification"
    (tmp_path / "masks" / "train").rename(root / "annotations" / "train")
    assert read_run_file(write(tmp_path, root, **keys)).task == "segmentation"


@pytest.mark.usefixtures("in_process")
def test_an_image_that_is_lost_between_rounds_stops_the_run_until_it_is_back(tmp_path: Path) -> None:
    root, home = write_squares(tmp_path / "squares", count=10), tmp_path / "home"
    file = write(tmp_path, write_squares(root, split="test", count=2), evaluation="test")
    whole = ran(tmp_path / "whole", file)
    workspace = Workspace.open(home)
    run = start_run(workspace, file)
    with contextlib.suppress(_StopError):
        carry_on(workspace, run.id, watch=Watch(done=_stop))
    for lost in (asked_in(home, run.id)[0], root / "images" / "test" / "00.png"):
        data = lost.read_bytes()
        lost.write_bytes(b"no image")
        answer = command("run", file, home=home)
        assert answer.code == 2
        assert f"{lost} could be used when the run began: not an image" in answer.err
        lost.write_bytes(data)
    assert outcome(ran(home, file)) == outcome(whole)


@pytest.mark.usefixtures("in_process")
def test_images_of_which_no_labeled_pixel_is_left_are_spoken_of(tmp_path: Path) -> None:
    root, home = write_squares(tmp_path / "squares", count=10), tmp_path / "home"
    for mask in sorted((root / "masks" / "train").iterdir())[::2]:
        values = np.full((24, 32), 9, dtype=np.uint8)
        values[0, 0] = 1
        write_png(mask, values)
    told = command("run", write(tmp_path, root, budget=8, rounds=1, image_size="50%"), home=home)
    assert "images are not learned from; the first, " in told.err
    assert "no labeled pixel is left" in told.err


@pytest.mark.usefixtures("in_process")
def test_patches_are_asked_for_and_only_they_are_learned_from(squares: Path, tmp_path: Path) -> None:
    file, home = write(tmp_path, squares, **PATCHES), tmp_path / "home"
    told = ran(home, file)
    assert (told["state"], told["pool"]["size"]) == ("finished", 8 * 4)
    assert [(len(one["selected"]), one["labels"]) for one in told["rounds"]] == [(5, 5), (5, 10)]
    asked = [sample for one in told["rounds"] for sample in one["selected"]]
    assert len(set(asked)) == 10
    regions = [split_id(sample)[1] for sample in asked]
    assert all(region is not None and region.width == 16 and region.height in (16, 8) for region in regions)
    data = read_segmentation(Workspace.open(home).generation_folder(told["rounds"][1]["generation"])).data
    assert data["regions"] == 10
    first_rows = sum(region.width for region in regions if region is not None and region.top == 0)
    assert sum(data["pixels"]) == sum(region.pixels for region in regions if region) - first_rows
    assert ran(home, file) == told


@pytest.mark.parametrize("unit", [{}, PATCHES], ids=["images", "patches"])
@pytest.mark.usefixtures("in_process")
def test_generations_know_the_receipts_of_their_masks_and_what_they_are_meant_for(
    squares: Path, tmp_path: Path, unit: dict[str, Any]
) -> None:
    home = tmp_path / "home"
    told = ran(home, write(tmp_path, squares, hardware="jetson-tx2", **unit))
    first, second = command("generations", "list", "--json", home=home).json["generations"]
    receipts, bought = [one["receipt"] for one in told["rounds"]], len(told["rounds"][0]["selected"])
    assert (first["receipts"], second["receipts"]) == (receipts[:1], receipts)
    assert [part["labels"] for part in second["brought"]] == [bought, bought]
    assert [part["surrogates"] for part in second["brought"]] == [[], [first["generation"]]]
    assert (first["number"], second["number"]) == (1, 2)
    assert {(one["run"], one["target"]) for one in (first, second)} == {(told["run"], "jetson-tx2")}
    asked = {sample for one in told["rounds"] for sample in one["selected"]}
    assert {row["id"] for row in Workspace.open(home).descents.labels(second["generation"])} == asked
    shown = command("generations", "lineage", second["generation"], home=home).out
    miou = 100 * told["rounds"][1]["metrics"]["miou"]
    assert f"  mIoU {miou:.1f} % on the evaluation set of run {told['run']}" in shown


@pytest.mark.usefixtures("in_process")
def test_a_control_arm_and_the_rule_of_auto_know_masks_as_well(squares: Path, tmp_path: Path) -> None:
    told = ran(tmp_path / "home", write(tmp_path, squares, budget=2, control="random", aggregate="max"))
    assert sorted(one["strategy"] for one in told["rounds"]) == ["entropy", "random", "random"]
    assert told["agent"]["ledgers"]["unique"] <= 4
    ruled = ran(tmp_path / "home", write(tmp_path, squares, strategy="auto", agent="fixed", aggregate="max"))
    assert ruled["rounds"][1]["ran"] == "typiclust"
    assert "3 images' worth of pixels are labeled" in ruled["rounds"][1]["why"]
    vain = command("run", write(tmp_path, squares, strategy="auto"), home=tmp_path / "home")
    assert "needs logits, which a segmentation model does not give" in vain.complaint


@pytest.mark.usefixtures("in_process")
def test_a_round_of_which_the_pools_own_masks_say_nothing_fails_with_what_to_do(tmp_path: Path) -> None:
    root, home = write_squares(tmp_path / "squares", count=10), tmp_path / "home"
    for mask in (root / "masks" / "train").iterdir():
        values = np.full((24, 32), 9, dtype=np.uint8)
        values[0, :2] = 0, 1
        write_png(mask, values)
    file = write(tmp_path, root, **PATCHES | {"budget": 1, "seed": 1})
    answer = command("run", file, home=home)
    assert answer.code == 2
    assert "ignore every pixel of the 1 patches that were chosen" in answer.err
    assert "raise budget" in answer.err
