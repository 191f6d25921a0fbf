"""Masks that people deliver to a run: taken, refused with the reason, late, corrected, or none that can be drawn."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import command
from foresift.app.selecting.chosen import Chosen
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.labels import CANNOT_TELL
from foresift.core.regions import split_id
from foresift.stores.generations import read_segmentation
from foresift.stores.tables import write_columns
from mask_runs import PATCHES, asked_in, ran, truth_of, write
from segmentation_files import write_png, write_squares

pytestmark = pytest.mark.timeout(600)


@pytest.mark.usefixtures("in_process")
def test_masks_are_dropped_into_the_inbox_and_bad_ones_are_named_until_good_ones_come(
    squares: Path, tmp_path: Path
) -> None:
    file, home = write(tmp_path, squares, oracle="files:settle=0"), tmp_path / "home"
    waiting = ran(home, file)
    assert waiting["state"] == "waiting"
    inbox = home / "inbox" / waiting["run"] / "round-1"
    assert (
        f"round 1 waits for 3 masks: drop PNG files named like the images of {inbox}.csv into {inbox}"
        in (waiting["reason"])
    )
    images = asked_in(home, waiting["run"])
    bad = {
        images[0].stem: (np.ones((8, 8), dtype=np.uint8), "the mask is 8 x 8 pixels, expected 32 x 24"),
        images[1].stem: (np.full((24, 32), 7, dtype=np.uint8), "the mask holds the unknown value 7"),
        images[2].stem: (np.full((24, 32), 9, dtype=np.uint8), "every pixel of the mask is ignored"),
        "stranger": (np.ones((24, 32), dtype=np.uint8), "belongs to no sample that was asked for"),
    }
    for stem, (values, _) in bad.items():
        write_png(inbox / f"{stem}.png", values)
    (inbox / "torn.png").write_bytes(b"\x89PNG\r\n")
    told = command("run", file, home=home)
    assert told.code == 0
    for stem, (_, reason) in bad.items():
        assert f"not taken: {stem}.png: {reason}" in told.err
        assert reason in (inbox / f"{stem}.png.refused.txt").read_text()
    assert "round 1 waits for 3 masks" in told.out
    assert "of 5 files not everything could be taken, NAME.refused.txt beside each says why" in told.out
    for image in images:
        shutil.copy(truth_of(image), inbox / f"{image.stem}.png")
    after = ran(home, file)
    assert (after["state"], [one["state"] for one in after["rounds"]]) == ("waiting", ["done", "labeling"])
    assert after["rounds"][0]["labels"] == 3
    assert not list(inbox.glob(f"{images[0].stem}*.refused.txt"))
    again = inbox.with_name("again")
    shutil.copytree(inbox, again)
    write_png(again / f"{images[0].stem}.png", 1 - np.array(Image.open(truth_of(images[0]))).clip(0, 1))
    for image in asked_in(home, waiting["run"], 2):
        shutil.copy(truth_of(image), inbox / f"{image.stem}.png")
    ended = ran(home, file)
    assert (ended["state"], ended["rounds"][1]["labels"]) == ("finished", 6)
    history = Workspace.open(home).records().labels(run=waiting["run"], current=False)
    assert len(history) == 7, "each mask was taken once, and the correction of an earlier round"


@pytest.mark.usefixtures("in_process")
def test_what_people_draw_gives_the_weights_that_the_pools_own_masks_give(squares: Path, tmp_path: Path) -> None:
    known = ran(tmp_path / "known", write(tmp_path, squares, rounds=1))
    home, file = tmp_path / "drawn", write(tmp_path, squares, rounds=1, oracle="files:settle=0")
    waiting = ran(home, file)
    for image in asked_in(home, waiting["run"]):
        folder = home / "inbox" / waiting["run"] / "round-1"
        folder.mkdir(exist_ok=True)
        shutil.copy(truth_of(image), folder / f"{image.stem}.png")
    drawn = ran(home, file)
    assert drawn["rounds"][0]["generation"] == known["rounds"][0]["generation"]


@pytest.mark.usefixtures("in_process")
def test_masks_that_lie_there_before_anybody_asks_are_taken_when_they_are_asked_for(
    squares: Path, tmp_path: Path
) -> None:
    file, home = write(tmp_path, squares, oracle="files:settle=0"), tmp_path / "home"
    run = ran(home, file)["run"]
    inbox = home / "inbox" / run
    first = {image.stem for image in asked_in(home, run)}
    for mask in sorted((squares / "masks" / "train").iterdir()):
        shutil.copy(mask, inbox / mask.name)
    write_png(inbox / "stranger.png", np.ones((24, 32), dtype=np.uint8))
    told = command("run", file, home=home)
    after = ran(home, file)
    assert (after["state"], [one["labels"] for one in after["rounds"]]) == ("finished", [3, 6])
    asked = first | {image.stem for image in asked_in(home, run, 2)}
    assert told.err.count("not taken: stranger.png: belongs to no sample that was asked for") == 1, "said once"
    reports = {path.name.partition(".")[0] for path in inbox.glob("*.refused.txt")}
    assert "stranger" in reports
    assert not reports & asked, "what was taken in the end is refused no longer"


@pytest.mark.usefixtures("in_process")
def test_what_was_asked_before_is_looked_up_once_a_look_however_many_masks_lie_there(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foresift.app.runs import answered

    file, home = write(tmp_path, squares, oracle="files:settle=0", rounds=1), tmp_path / "home"
    run = ran(home, file)["run"]
    looks: list[int] = []
    values = answered.table_values
    monkeypatch.setattr(answered, "table_values", lambda *asked: looks.append(1) or values(*asked))
    ran(home, file)
    alone = len(looks)
    for number in range(6):
        write_png(home / "inbox" / run / f"stranger-{number}.png", np.ones((24, 32), dtype=np.uint8))
    looks.clear()
    ran(home, file)
    assert len(looks) == alone


@pytest.mark.usefixtures("in_process")
def test_images_whose_ids_are_numbers_are_learned_from(squares: Path, tmp_path: Path) -> None:
    images = sorted((squares / "images" / "train").iterdir())
    table = tmp_path / "images.parquet"
    write_columns(table, {"id": list(range(len(images))), "uri": [str(image) for image in images]})
    keys = {"split": None, "task": "segmentation", "evaluation": f"{squares}/test", "rounds": 1}
    file, home = write(tmp_path, table, oracle="files:settle=0", **keys), tmp_path / "home"
    run = ran(home, file)["run"]
    for image in asked_in(home, run):
        shutil.copy(truth_of(image), home / "inbox" / run / f"{image.stem}.png")
    told = ran(home, file)
    assert (told["state"], told["rounds"][0]["labels"]) == ("finished", 3)
    assert all(isinstance(one, int) for one in told["rounds"][0]["selected"])


@pytest.mark.usefixtures("in_process")
def test_equal_masks_of_two_images_are_two_answers_and_a_table_can_only_say_cannot_tell(
    squares: Path, tmp_path: Path
) -> None:
    file, home = write(tmp_path, squares, oracle="files:settle=0", rounds=1), tmp_path / "home"
    run = ran(home, file)["run"]
    inbox = home / "inbox" / run
    first, second, third = asked_in(home, run)
    plain = np.zeros((24, 32), dtype=np.uint8)
    plain[4:9, 4:9] = 1
    for image in (first, second):
        write_png(inbox / f"{image.stem}.png", plain)
    (inbox / "photo.jpg").write_bytes(b"no mask")
    (inbox / "table.csv").write_text(f"uri,label\n{third},square\n")
    told = command("run", file, home=home)
    assert "waits for 1 masks" in told.out
    assert "this run takes masks" in told.err
    assert "masks are PNG files, and 1 such as photo.jpg are none" in told.out
    (inbox / "table.csv").write_text(f"uri,label\n{third},cannot tell\n")
    ended = ran(home, file)
    assert (ended["state"], ended["rounds"][0]["labels"]) == ("finished", 2)
    values = [one.value for one in Workspace.open(home).records().labels(run=run)]
    assert min(values) == CANNOT_TELL
    assert len(set(values)) == 2


@pytest.mark.usefixtures("in_process")
def test_a_late_mask_and_a_correction_count_from_the_next_training_on(squares: Path, tmp_path: Path) -> None:
    file, home = write(tmp_path, squares, oracle="files:settle=0", quota=2), tmp_path / "home"
    run = ran(home, file)["run"]
    late, wrong, right = asked_in(home, run)
    folder = tmp_path / "masks"
    for image in (wrong, right):
        write_png(folder / f"{image.stem}.png", 1 - np.array(Image.open(truth_of(image))).clip(0, 1))
    assert command("labels", "import", folder, "--run", run, home=home).code == 0
    assert ran(home, file)["rounds"][0]["labels"] == 2
    for image in (late, wrong):
        shutil.copy(truth_of(image), folder / f"{image.stem}.png")
    done = command("labels", "import", folder, "--run", run, "--json", home=home).json
    assert (done["late"], done["corrections"]) == (3, 1), done
    for image in asked_in(home, run, 2)[:2]:
        shutil.copy(truth_of(image), folder / f"{image.stem}.png")
    assert command("labels", "import", folder, "--run", run, home=home).code == 0
    assert ran(home, file)["rounds"][1]["labels"] == 5


@pytest.mark.usefixtures("in_process")
def test_plain_images_are_labeled_with_masks_where_the_file_says_so(squares: Path, tmp_path: Path) -> None:
    home, plain = tmp_path / "home", squares / "images" / "train"
    keys = {"split": None, "task": "segmentation", "oracle": "files", "evaluation": f"{squares}/test"}
    refused = command("run", write(tmp_path, plain, **keys | {"evaluation": "none"}), home=home)
    assert "holds no mask that shows the classes; name them: classes: [background, ...]" in refused.complaint
    waiting = ran(home, write(tmp_path, plain, **keys))
    assert (waiting["state"], waiting["pool"]["evaluation"]) == ("waiting", 2)
    page = command("label", f"{waiting['run']}/1", home=home)
    assert "takes masks, which this page can't draw" in page.complaint


@pytest.mark.usefixtures("in_process")
def test_broken_masks_of_an_evaluation_set_are_spoken_of_and_reports_on_files_that_are_gone_are_not(
    tmp_path: Path,
) -> None:
    root, home = write_squares(tmp_path / "squares", count=10), tmp_path / "home"
    write_squares(root, split="test", count=3)
    write_png(root / "masks" / "test" / "00.png", np.full((24, 32), 9, dtype=np.uint8))
    file = write(tmp_path, root, evaluation="test", oracle="files:settle=0")
    waiting = ran(home, file)
    assert "evaluation: 1 images are not measured on: " in "\n".join(waiting["notes"])
    assert "00.png: every pixel of the mask is ignored" in "\n".join(waiting["notes"])
    inbox = home / "inbox" / waiting["run"]
    for number in range(2):
        write_png(inbox / f"stranger-{number}.png", np.ones((24, 32), dtype=np.uint8))
    assert "of 2 files not everything could be taken" in ran(home, file)["reason"]
    (inbox / "stranger-0.png").unlink()
    assert "of 1 files not everything could be taken" in ran(home, file)["reason"]
    (inbox / "stranger-1.png").unlink()
    assert "could be taken" not in ran(home, file)["reason"]


@pytest.mark.usefixtures("in_process")
def test_crops_go_out_and_their_masks_come_back_to_the_same_weights(squares: Path, tmp_path: Path) -> None:
    keys = {**PATCHES, "rounds": 1}
    known = ran(tmp_path / "known", write(tmp_path, squares, **keys))["rounds"][0]
    home, file = tmp_path / "home", write(tmp_path, squares, **keys, oracle="files:settle=0")
    run = ran(home, file)["run"]
    sheet = home / "inbox" / run / "round-1.csv"
    exported = command("export", sheet, "--format", "crops", "--out", tmp_path / "out", home=home)
    assert exported.code == 0, exported.err
    with (tmp_path / "out" / "crops.csv").open() as lines:
        crops = list(csv.DictReader(lines))
    for row in crops:
        left, top, width, height = (int(row[side]) for side in ("left", "top", "width", "height"))
        mask = np.array(Image.open(truth_of(row["uri"])))[top : top + height, left : left + width]
        write_png(sheet.with_suffix("") / Path(row["crop"]).name, mask)
    drawn = ran(home, file)["rounds"][0]
    assert (drawn["selected"], drawn["labels"]) == (known["selected"], 5)
    both = zip((tmp_path / "known", home), (known, drawn), strict=True)
    weights = [
        read_segmentation(Workspace.open(place).generation_folder(one["generation"])).weights for place, one in both
    ]
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("in_process")
def test_a_patch_that_nobody_can_tell_is_never_asked_for_again(squares: Path, tmp_path: Path) -> None:
    file, home = write(tmp_path, squares, **PATCHES, oracle="files:settle=0"), tmp_path / "home"
    waiting = ran(home, file)
    first, *others = waiting["rounds"][0]["selected"]
    inbox = home / "inbox" / waiting["run"]
    plain = np.zeros((24, 32), dtype=np.uint8)
    plain[:, ::3] = 1
    uris = {digest_bytes(path.read_bytes()): path for path in (squares / "images" / "train").iterdir()}
    for sample in others:
        image, region = split_id(sample)
        crop = Chosen(rank=1, id=sample, uri=str(uris[image]), region=region)
        write_png(inbox / f"{crop.name}.png", plain)
    (inbox / "table.csv").write_text(f'id,label\n"{first}",cannot-tell\n')
    after = ran(home, file)
    assert after["rounds"][0]["labels"] == 4
    assert not set(after["rounds"][0]["selected"]) & set(after["rounds"][1]["selected"])


@pytest.mark.usefixtures("in_process")
def test_a_round_of_which_nobody_can_tell_anything_says_so_and_waits(squares: Path, tmp_path: Path) -> None:
    file, home = write(tmp_path, squares, oracle="files:settle=0", evaluation="none"), tmp_path / "home"
    run = ran(home, file)["run"]
    rows = "".join(f"{image},cannot-tell\n" for image in asked_in(home, run))
    (home / "inbox" / run / "table.csv").write_text(f"uri,label\n{rows}")
    waiting = ran(home, file)
    assert (waiting["state"], waiting["rounds"][0]["metrics"]) == ("waiting", {})
    assert "round 1 has nothing to learn from, every answer is cannot-tell: drop PNG files" in waiting["reason"]
