"""Segmentation through the application: which images are used, what the record says, what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import command
from foresift.app.generations.descent import members
from foresift.app.generations.promoting import PromoteRequest, promote
from foresift.app.pixels.classes import labeled_regions
from foresift.app.pixels.evaluating import evaluate_segmentation, is_segmentation_model
from foresift.app.pixels.images import usable_images, values_present
from foresift.app.pixels.train import train_segmentation
from foresift.app.pixels.training_request import SegmentationRequest, SegmentationTrained, dense_transform
from foresift.app.training.fitting import COMPLETE
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import (
    DataError,
    EmptyPoolError,
    ForesiftError,
    LabelError,
    ModelError,
    NotBetterError,
    UsageError,
)
from foresift.core.lineage import Heritage
from foresift.core.masks import IGNORED, MaskClasses
from foresift.core.protocols import Silent
from foresift.core.regions import Region, split_id
from foresift.core.segmentation import DenseTransform
from foresift.models import weights
from foresift.models.segmentation_generations import load_segmenter
from foresift.sources.segmentation import masked_images
from segmentation_files import unpack_few, write_png, write_squares

MODEL = "deeplabv3plus:mobilenetv3_small_100"
SQUARES = MaskClasses(classes=("ground", "square"), values=(0, 1), ignored=(9,))
Run = Callable[..., SegmentationTrained]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_squares(tmp_path / "squares")


@pytest.fixture
def run(root: Path, home: Path, tmp_path: Path) -> Run:
    def run(data: Path = root, **asked: Any) -> SegmentationTrained:
        asked["recipe"] = {"epochs": 1, "batch_size": 3, "precision": "32"} | asked.get("recipe", {})
        common: dict[str, Any] = {"model": MODEL, "out": tmp_path / "gen", "split": "train", "ignore_index": (9,)}
        return train_segmentation(Workspace.open(home), data, SegmentationRequest(**common | asked))

    return run


def test_the_record_says_what_decides_the_weights(run: Run, root: Path, home: Path) -> None:
    done = run(image_size="16x12", seed=3)
    generation = done.generation
    assert generation.architecture == MODEL
    assert (generation.classes, generation.values, generation.ignored) == (("0", "1"), (0, 1), (9,))
    assert generation.transform == DenseTransform(size=(12, 16))
    assert generation.recipe["start"] == "from scratch"
    assert generation.data["labeled"] == 6
    assert sum(generation.data["pixels"]) <= 6 * 12 * 16
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "generation.json",
        "metrics.csv",
        "model.safetensors",
    ]
    assert is_segmentation_model(Workspace.open(home), generation.id[:12])


def test_a_repeated_call_trains_nothing_and_another_one_is_refused(run: Run) -> None:
    first = run()
    again = run()
    assert again.generation == first.generation
    assert "nothing was trained" in again.notes[-1]
    with pytest.raises(ModelError, match="holds a generation already"):
        run(seed=1)


def test_a_generation_goes_on_from_another(run: Run, tmp_path: Path) -> None:
    first = run()
    second = run(model=str(first.folder), out=tmp_path / "gen2", ignore_index=None)
    assert second.generation.parent == first.generation.id
    assert second.generation.mask_classes == first.generation.mask_classes
    with pytest.raises(UsageError, match="brings its classes"):
        run(model=str(first.folder), out=tmp_path / "gen3", classes="2")
    with pytest.raises(UsageError, match="is the class '1' of"):
        run(model=str(first.folder), out=tmp_path / "gen3", ignore_index=(1, 255))


def test_a_generation_goes_on_with_partial_masks_of_the_same_classes(run: Run, root: Path, tmp_path: Path) -> None:
    first = run()
    for file in (root / "masks" / "train").iterdir():
        values = np.array(Image.open(file))
        values[:, :8] = 255
        write_png(file, values)
    with pytest.raises(EmptyPoolError, match="unknown value 255"):
        run(model=str(first.folder), out=tmp_path / "gen2", ignore_index=None)
    second = run(model=str(first.folder), out=tmp_path / "gen2", ignore_index=(255,))
    assert second.generation.ignored == (9, 255)
    plain = {"classes": ["0", "1"], "values": [0, 1], "ignored": [9, 255]}
    (root / "classes.json").write_text(json.dumps(plain))
    third = run(model=str(first.folder), out=tmp_path / "gen3", ignore_index=None)
    assert third.generation.mask_classes == second.generation.mask_classes
    fresh = run(out=tmp_path / "gen4", ignore_index=None)
    assert fresh.generation.mask_classes == second.generation.mask_classes
    (root / "classes.json").write_text(json.dumps({**plain, "classes": ["0", "else"]}))
    with pytest.raises(LabelError, match="the value 1 is 'else' in the data, and '1' to"):
        run(model=str(first.folder), out=tmp_path / "gen5", ignore_index=None)
    with pytest.raises(UsageError, match="another size"):
        run(model=str(first.folder), out=tmp_path / "gen3", ignore_index=None, image_size="9x9")


def test_an_encoder_may_start_from_weights_of_a_file(run: Run, tmp_path: Path) -> None:
    import timm

    weights.save(timm.create_model("mobilenetv3_small_100"), tmp_path / "encoder.safetensors")
    start = run(weights=tmp_path / "encoder.safetensors").generation.recipe["start"]
    assert start.startswith("encoder from weights file encoder.safetensors")


def test_classes_by_name_number_and_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ground\nsquare\n\nsky\n")
    for number, given in enumerate(("ground,square,sky", str(tmp_path / "names.txt"), "3")):
        generation = run(classes=given, out=tmp_path / f"gen{number}").generation
        assert generation.classes == (("0", "1", "2") if given == "3" else ("ground", "square", "sky"))
        assert generation.data["pixels"][2] == 0
    with pytest.raises(UsageError, match="no such file"):
        run(classes="names.txt", out=tmp_path / "none")


# ---- where it comes from -----------------------------------------------------------------------


def chosen(home: Path, root: Path, out: Path, *args: object) -> list[dict[str, str]]:
    """A selection of images or patches of the training split."""
    told = command("select", root / "images" / "train", *args, "--out", out, home=home)
    assert told.code == 0, told.err
    return list(csv.DictReader(out.read_text().splitlines()))


def test_a_generation_knows_who_chose_its_images_its_parent_and_its_device(
    run: Run, root: Path, home: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    rows = chosen(home, root, first, "--strategy", "random", "--budget", 2)
    parent = run(labels=first)
    ask = ("--strategy", "entropy", "--model", parent.folder, "--labeled", first, "--budget", 3)
    rows += chosen(home, root, second, *ask)
    both = tmp_path / "both.csv"
    both.write_text("uri\n" + "".join(f"{row['uri']}\n" for row in rows))
    asked: dict[str, Any] = {"model": str(parent.folder), "ignore_index": None, "out": tmp_path / "gen2"}
    done = run(labels=both, heritage=Heritage(target="jetson-tx2"), **asked)
    before, after = members(Workspace.open(home))
    assert [(part.strategy, part.labels) for part in before.descent.brought] == [("random", 2)]
    assert [part.labels for part in after.descent.brought] == [2, 3]
    assert after.descent.brought[1].surrogates == (parent.generation.id,)
    assert (after.descent.generation, after.descent.parent) == (done.generation.id, parent.generation.id)
    assert (after.descent.target, after.number) == ("jetson-tx2", 2)
    kept = Workspace.open(home).descents.labels(done.generation.id)
    assert {row["uri"] for row in kept} == {row["uri"] for row in rows}
    masks = {digest_bytes((root / "masks" / "train" / Path(row["uri"]).name).read_bytes()) for row in rows}
    assert len({row["label"] for row in kept}) == len(masks) == 5
    run(labels=both, **asked)
    assert members(Workspace.open(home))[1] == after, "a repeated training changes nothing"
    told = run(labels=both, heritage=Heritage(target="edge-tpu"), **asked).notes[-1]
    assert "registered as meant for jetson-tx2, and stays so: edge-tpu is not kept" in told
    assert members(Workspace.open(home))[1] == after


def test_a_target_that_is_named_later_is_kept(run: Run, home: Path) -> None:
    assert run().notes == ()
    assert run(heritage=Heritage(target="jetson-tx2")).notes == (COMPLETE,)
    (one,) = members(Workspace.open(home))
    assert one.descent.target == "jetson-tx2"


def test_images_that_nobody_chose_are_given(run: Run, home: Path) -> None:
    run(val_split="train")
    (one,) = members(Workspace.open(home))
    assert [(part.receipt, part.labels) for part in one.descent.brought] == [("", 6)]
    assert one.quality == ("mIoU", one.metrics["val"]["miou"])


def test_masks_that_came_back_know_the_selection_that_they_were_drawn_for(
    run: Run, root: Path, home: Path, tmp_path: Path
) -> None:
    labeled, patches = tmp_path / "labeled", ("--unit", "patch", "--patch", 16, "--strategy")
    seen: list[str] = []
    for number, budget in ((1, 3), (2, 4)):
        picks, drawn = tmp_path / f"{number}.csv", tmp_path / f"masks-{number}"
        ask = (*patches, "random", "--seed", number, "--budget", budget)
        rows = chosen(home, root, picks, *ask, *(("--labeled", tmp_path / "1.csv") if seen else ()))
        for row in rows:
            name = Path(row["uri"]).name
            shutil.copy(root / "masks" / "train" / name, write_png(drawn / name, np.zeros((1, 1), dtype=np.uint8)))
        assert command("import-masks", picks, drawn, "--classes", "2", "--out", labeled, home=home).code == 0
        seen.append(json.loads((tmp_path / f"{number}.csv.receipt.json").read_text())["id"])
    done = run(labeled, split="", ignore_index=(9, 255))
    (one,) = members(Workspace.open(home))
    assert {part.receipt: part.labels for part in one.descent.brought} == dict(zip(seen, (3, 4), strict=True))
    ids = {row["id"] for row in Workspace.open(home).descents.labels(done.generation.id)}
    assert len(ids) == 7
    assert all(split_id(sample)[1] for sample in ids)


@pytest.mark.parametrize("header", ["shop,total", "id,uri", "receipt\x00;\xff"])
def test_a_data_set_may_have_a_file_of_receipts_of_its_own(
    header: str, run: Run, root: Path, home: Path, tmp_path: Path
) -> None:
    own = root / "receipts.csv"
    own.write_text(f"{header}\n7,{root}/images/train/00.png\n", encoding="latin-1")
    done, before = run(), own.read_bytes()
    (one,) = members(Workspace.open(home))
    assert [(part.receipt, part.labels) for part in one.descent.brought] == [("", 6)]
    assert "7" not in {row["id"] for row in Workspace.open(home).descents.labels(done.generation.id)}
    chosen(home, root, tmp_path / "1.csv", "--strategy", "random", "--budget", 2)
    ask = ("import-masks", tmp_path / "1.csv", root / "masks" / "train", "--out", root)
    refused = command(*ask, home=home)
    assert (refused.code, own.read_bytes()) == (1, before)
    assert f"{own} has not the columns id, uri, receipt; rename it, or choose a new --out" in refused.complaint


# ---- promotion -----------------------------------------------------------------------------------


@pytest.fixture
def twins(run: Run, root: Path, tmp_path: Path) -> tuple[SegmentationTrained, SegmentationTrained]:
    """One that has hardly learned anything, and one that has; ten images to measure on."""
    write_squares(root, split="test", count=10)
    recipe = {"epochs": 30, "batch_size": 3, "lr": 0.05}
    common: dict[str, Any] = {"model": "linknet:mobilenetv3_small_050"}
    return run(**common), run(**common, recipe=recipe, out=tmp_path / "better")


def test_only_what_beats_the_deployed_segmentation_model_is_deployed(
    twins: tuple[SegmentationTrained, SegmentationTrained], root: Path, home: Path
) -> None:
    poor, good = (one.generation.id for one in twins)
    workspace = Workspace.open(home)
    held: dict[str, Any] = {"data": str(root), "split": "test"}
    free = promote(workspace, PromoteRequest(generation=poor, **held))
    measured = [evaluate_segmentation(workspace, root, one.folder, split="test").metrics["miou"] for one in twins]
    assert free.evaluation is not None
    assert (free.evaluation["n"], free.evaluation["miou"]) == (10, pytest.approx(measured[0]))
    with pytest.raises(UsageError, match="to beat it on with --on DATA"):
        promote(workspace, PromoteRequest(generation=good))
    won = promote(workspace, PromoteRequest(generation=good, **held)).evaluation
    assert won is not None
    assert (won["challenger"], won["holder"]) == (pytest.approx(measured[1]), pytest.approx(measured[0]))
    assert won["difference"] > won["low"] > 0
    with pytest.raises(NotBetterError, match=r"does not beat .* mIoU -\d.* over 10 images, p = "):
        promote(workspace, PromoteRequest(generation=poor, **held))
    assert workspace.descents.alias("deployed")[-1]["generation"] == good
    assert promote(workspace, PromoteRequest(generation=poor, alias="candidate", **held)).changed
    told = command("generations", "promote", poor, "--on", root, "--split", "test", "--force", home=home)
    assert f"mIoU {100 * measured[0]:.1f} % on {root}/images/test (10 images)" in told.out


def test_a_refusal_says_which_class_is_too_rare_and_what_could_not_be_used(
    twins: tuple[SegmentationTrained, SegmentationTrained], root: Path, home: Path
) -> None:
    poor, good = (one.generation.id for one in twins)
    masks, images = (write_squares(root, split="rare", count=10) / part / "rare" for part in ("masks", "images"))
    for row in range(2, 10):
        write_png(masks / f"{row:02d}.png", np.zeros((24, 32), dtype=np.uint8))
    shutil.copy(images / "09.png", images / "lonely.png")
    ask = ("--on", root, "--split", "rare")
    assert command("generations", "promote", poor, *ask, home=home).code == 0
    refused = command("generations", "promote", good, *ask, home=home)
    assert refused.code == 1
    assert f"; 1 more can't be used, the first, {images}/lonely.png: no mask of the same name); " in refused.complaint
    assert "only 2 of them show '1', and 6 or more with each class decide, --force promotes it" in refused.complaint
    told = command("generations", "promote", good, *ask, "--force", "--json", home=home).json["evaluation"]
    assert (told["n"], told["rarest"], told["showing"]) == (10, "1", 2)


def test_images_that_are_not_measured_on_are_counted_and_the_first_is_named(run: Run, root: Path, home: Path) -> None:
    made = [run(seed=seed, out=root / f"gen{seed}").generation.id for seed in range(2)]
    masks, images = (write_squares(root, split="test", count=10) / part / "test" for part in ("masks", "images"))
    write_png(masks / "03.png", np.full((24, 32), 77, dtype=np.uint8))
    for name in ("05", "06"):
        shutil.copy(images / "04.png", images / f"{name}.png")
    shutil.copy(masks / "05.png", masks / "06.png")
    on: dict[str, Any] = {"data": str(root), "split": "test"}
    for generation in made:
        told = promote(Workspace.open(home), PromoteRequest(generation=generation, force=True, **on)).evaluation
        assert told is not None
        assert (told["n"], told["left_out"]) == (6, 4), "one unknown value, three of equal bytes and different masks"
        assert told["first_left_out"] == f"{images}/03.png: the mask holds the unknown value 77"
    shown = command("generations", "promote", made[0], "--on", root, "--split", "test", "--force", home=home)
    assert f"(6 images)\n  4 more can't be used, the first, {images}/03.png: the mask holds the" in shown.out


def test_a_candidate_must_be_measured_and_need_not_be_compared(
    run: Run, generation: Path, root: Path, home: Path
) -> None:
    workspace, made = Workspace.open(home), run()
    other = run(classes="ground,square", out=root / "named")
    write_squares(root, split="one", count=1)

    def untold(generation: str, split: str = "train") -> str:
        request = PromoteRequest(generation=generation, alias="candidate", data=str(root), split=split)
        done = promote(workspace, request)
        assert (done.changed, done.forced) == (True, False)
        assert done.evaluation is not None
        assert 0 <= done.evaluation["miou"] <= 1
        return str(done.evaluation.get("not_compared", ""))

    assert promote(workspace, PromoteRequest(generation=str(generation), alias="candidate")).changed
    assert "which is candidate, a classifier: no image compares them" in untold(made.generation.id)
    assert "their mIoU are of different classes" in untold(other.generation.id)
    twin = run(seed=1, out=root / "twin")
    promote(workspace, PromoteRequest(generation=made.generation.id, alias="candidate"))
    assert "1 image says nothing" in untold(twin.generation.id, "one")
    assert untold(made.generation.id) == ""
    shutil.rmtree(made.folder)
    assert f"generation {made.generation.id[:12]}, which is to be beaten, is gone" in untold(twin.generation.id)
    for file in (root / "images" / "one").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(EmptyPoolError, match="no image can be used"):
        untold(other.generation.id, "one")


def test_what_can_not_be_compared_is_refused_in_one_line(run: Run, generation: Path, root: Path, home: Path) -> None:
    workspace, made = Workspace.open(home), run()
    on: dict[str, Any] = {"data": str(root), "split": "train"}
    assert promote(workspace, PromoteRequest(generation=str(generation))).changed
    with pytest.raises(ModelError, match=r"is a segmentation model and .*, which is deployed, a classifier"):
        promote(workspace, PromoteRequest(generation=made.generation.id, **on))
    assert promote(workspace, PromoteRequest(generation=made.generation.id, force=True, **on)).forced
    other = run(classes="ground,square", out=root / "named")
    with pytest.raises(LabelError, match=r"tells apart ground, square, and .* 0, 1: their mIoU are of different"):
        promote(workspace, PromoteRequest(generation=other.generation.id, **on))
    with pytest.raises(UsageError, match="--labels names classes"):
        promote(workspace, PromoteRequest(generation=other.generation.id, labels=root / "x.csv", **on))
    with pytest.raises(UsageError, match="--split is for segmentation models"):
        promote(workspace, PromoteRequest(generation=str(generation), **on))


def test_masks_are_not_inherited_and_classes_that_a_segmentation_model_chose_are(
    run: Run, root: Path, home: Path, tmp_path: Path
) -> None:
    done, heir = run(), ("--model", "mlp:4", "--epochs", 1, "--image-size", 8, "--out")
    refused = command("inherit", done.generation.id, *heir, tmp_path / "refused", home=home)
    assert "is a segmentation model, and masks can't be inherited yet" in refused.complaint
    rows = chosen(home, root, tmp_path / "1.csv", "--strategy", "entropy", "--model", done.folder, "--budget", 4)
    named = "".join(f"{row['id']},{'ab'[int(row['rank']) % 2]}\n" for row in rows)
    (tmp_path / "labels.csv").write_text(f"id,label\n{named}")
    images, labels = root / "images" / "train", tmp_path / "labels.csv"
    trained = command("train", images, "--labels", labels, *heir, tmp_path / "classes", "--json", home=home).json
    told = command("inherit", trained["id"], *heir, tmp_path / "heir", "--seed", 1, "--json", home=home).json
    assert (told["inherited"], told["classes"]) == (4, ["a", "b"])


# ---- what is set aside ---------------------------------------------------------------------


def test_what_can_t_be_used_is_quarantined_with_the_reason(run: Run, root: Path) -> None:
    masks, images = root / "masks" / "train", root / "images" / "train"
    write_png(masks / "00.png", np.zeros((5, 5), dtype=np.uint8))
    write_png(masks / "01.png", np.full((24, 32), 77, dtype=np.uint8))
    write_png(masks / "02.png", np.full((24, 32), 9, dtype=np.uint8))
    (masks / "03.png").unlink()
    (images / "04.png").write_bytes(b"no image")
    done = run(classes="2")
    reasons = {Path(one.uri).name: one.reason for one in done.quarantined}
    assert reasons == {
        "00.png": "the image is 32x24 pixels, its mask 5x5",
        "01.png": "the mask holds the unknown value 77",
        "02.png": "every pixel of the mask is ignored",
        "03.png": "no mask of the same name",
        "04.png": reasons["04.png"],
    }
    assert reasons["04.png"].startswith("not an image")
    assert done.generation.data["labeled"] == 1
    with pytest.raises(ForesiftError, match=r"--strict: .*03.png: no mask"):
        run(classes="2", strict=True, out=root / "gen")


def test_nothing_usable_is_an_error(run: Run, root: Path) -> None:
    for path in (root / "images" / "train").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(EmptyPoolError, match=r"no image can be used; the first, .*00.png: not an image"):
        run()


def test_a_mask_in_which_nothing_is_left_at_the_size_of_the_input_is_set_aside(root: Path) -> None:
    mask = np.full((24, 32), 9, dtype=np.uint8)
    mask[0, 0] = 1
    write_png(root / "masks" / "train" / "00.png", mask)
    transform = DenseTransform(size=(6, 8))
    images = usable_images(masked_images(root, "train"), SQUARES, transform, progress=Silent())
    assert len(images) == 5
    assert "no labeled pixel is left" in images.quarantined[0].reason


def test_equal_images_are_used_once_or_if_their_masks_differ_not_at_all(run: Run, root: Path) -> None:
    for part in ("images", "masks"):
        for old, new in (("00", "copy"), ("01", "other")):
            shutil.copy(root / part / "train" / f"{old}.png", root / part / "train" / f"{new}.png")
    write_png(root / "masks" / "train" / "other.png", np.ones((24, 32), dtype=np.uint8))
    done = run()
    assert done.generation.data["labeled"] == 5
    conflict, copies = done.notes
    assert conflict.startswith("equal bytes, different masks")
    assert "01.png" in conflict
    assert "other.png" in conflict
    assert copies.startswith("1 images are copies")


def test_what_does_not_fit_the_memory_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing, transform = masked_images(root, "train"), DenseTransform(size=(12, 16))
    kept = usable_images(listing, SQUARES, transform, progress=Silent())
    monkeypatch.setattr("foresift.app.pixels.images.MEMORY_BYTES", 2000)
    read = usable_images(listing, SQUARES, transform, progress=Silent())
    assert (len(kept.kept), len(read.kept)) == (6, 2)
    assert kept.version == read.version
    for row in range(6):
        for one, other in zip(kept.pair(row), read.pair(row), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_version_follows_the_bytes(root: Path) -> None:
    def version(classes: MaskClasses = SQUARES) -> str:
        return usable_images(masked_images(root, "train"), classes, DenseTransform(), progress=Silent()).version

    first = version()
    assert first == version()
    assert first != version(MaskClasses(classes=("a", "square"), values=(0, 1), ignored=(9,)))
    write_png(root / "masks" / "train" / "00.png", np.ones((24, 32), dtype=np.uint8))
    assert first != version()


# ---- partly labeled images -----------------------------------------------------------------


def test_only_labeled_regions_of_named_images_are_used(run: Run, root: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        f"uri,left,top,width,height\n{root}/images/train/00.png,0,2,8,8\n00.png,8,2,8,8\ntrain/01.png,,,,\n"
    )
    regions = labeled_regions(table, masked_images(root, "train").images)
    first, second = sorted(regions)
    assert regions == {first: (Region(0, 2, 8, 8), Region(8, 2, 8, 8)), second: ()}
    generation = run(labels=table).generation
    assert generation.data["labeled"] == 2
    assert sum(generation.data["pixels"]) == 2 * 64 + 23 * 32


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uri,left\n99.png,1\n", "'99.png' names no image"),
        ("uri,left,top,width,height\n00.png,1,2,3,\n", "expected left, top, width, height"),
        ("uri,left,top,width,height\n", "not a single row"),
        ("id\n3\n", "no column uri"),
    ],
)
def test_a_senseless_table_of_regions_is_refused(run: Run, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ForesiftError, match=told):
        run(labels=tmp_path / "labels.csv")


def test_a_region_outside_its_image_is_quarantined(run: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("uri,left,top,width,height\n00.png,30,2,8,8\n01.png,0,2,8,8\n")
    done = run(labels=tmp_path / "labels.csv", classes="2")
    assert "does not lie inside an image of 32 x 24" in done.quarantined[0].reason


# ---- refused before anything is done ---------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"model": "unnet:resnet18"}, "segmentation head"),
        ({"model": "unet:resnet1888"}, "encoder"),
        ({"image_size": "240"}, "WIDTHxHEIGHT"),
        ({"image_size": "0x9"}, "WIDTHxHEIGHT"),
        ({"image_size": "-5%"}, "WIDTHxHEIGHT"),
        ({"recipe": {"schedule": "onecycle"}}, "schedule must be one of"),
        ({"split": "val"}, "no split 'val'"),
        ({"val_split": "val"}, "no split 'val'"),
        ({"layout": "folder"}, "did you mean 'folders'"),
        ({"layout": "cityscapes"}, "not laid out as cityscapes"),
        ({"classes": "1"}, "at least 2|2 .. 4096"),
        ({"ignore_index": (1, 9)}, "only the value 0"),
        ({"weights": Path("none.pt")}, "none.pt"),
    ],
)
def test_senseless_requests(run: Run, tmp_path: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ForesiftError, match=told) as error:
        run(**asked)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "gen").exists()


def test_a_folder_that_holds_other_files_is_left_alone(run: Run, generation: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds a classifier"):
        run(out=generation)
    (tmp_path / "gen").mkdir()
    (tmp_path / "gen" / "thesis.txt").write_text("three years")
    with pytest.raises(ModelError, match="choose a new folder"):
        run()


def test_image_sizes() -> None:
    assert dense_transform("240x180") == DenseTransform(size=(180, 240))
    assert dense_transform("50%") == DenseTransform(scale=0.5)
    assert dense_transform("") == DenseTransform()


# ---- evaluation ------------------------------------------------------------------------------


def test_evaluation_counts_every_labeled_pixel_in_its_own_size(run: Run, root: Path, home: Path) -> None:
    write_squares(root, split="test", count=3)
    trained = run(image_size="16x12", val_split="test")
    done = evaluate_segmentation(Workspace.open(home), root, trained.folder, split="test")
    assert done.metrics["n"] == 3
    assert sum(done.metrics["pixels"]) == 3 * 23 * 32
    assert done.metrics == trained.generation.metrics["val"]


def test_data_with_other_classes_are_refused(run: Run, root: Path, home: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "voc" / "JPEGImages" / "a.jpg", np.zeros((4, 4, 3), dtype=np.uint8))
    write_png(tmp_path / "voc" / "SegmentationClass" / "a.png", np.zeros((4, 4), dtype=np.uint8))
    trained = run(classes="ground,square")
    with pytest.raises(LabelError, match="the value 0 is 'background' in the data, and 'ground'"):
        evaluate_segmentation(Workspace.open(home), tmp_path / "voc", trained.folder)
    with pytest.raises(DataError):
        evaluate_segmentation(Workspace.open(home), tmp_path, trained.folder)


# ---- real data ---------------------------------------------------------------------------------


@pytest.mark.data
def test_camvid(run: Run, data: Path, home: Path, tmp_path: Path) -> None:
    root = unpack_few(data / "camvid.tar.gz", tmp_path / "camvid", split="train", count=4)
    done = run(root, ignore_index=(11,), image_size="60x44")
    assert done.quarantined == ()
    assert max(done.generation.values) <= 10
    images = usable_images(
        masked_images(root, "train"), done.generation.mask_classes, DenseTransform(), progress=Silent()
    )
    assert all(images.pair(row)[0].shape == (360, 480, 3) for row in range(4))
    network = load_segmenter(done.folder, done.generation)
    assert network.stride == 16
    assert evaluate_segmentation(Workspace.open(home), root, done.folder, split="train").metrics["n"] == 4


@pytest.mark.data
def test_neu_seg(data: Path, tmp_path: Path) -> None:
    root = unpack_few(data / "neu-seg.tar.gz", tmp_path / "neu", split="test", count=5)
    listing = masked_images(root, "test")
    values = values_present(listing, progress=Silent())
    assert 0 in values
    assert values <= {0, 1, 2, 3}
    images = usable_images(
        listing, MaskClasses.numbered(["ground", "a", "b", "c"]), DenseTransform(scale=0.5), progress=Silent()
    )
    assert [pair[1].shape for pair in map(images.pair, range(5))] == [(100, 100)] * 5
    assert all((images.truth(row) != IGNORED).all() for row in range(5))
