"""Labels of a run: imported once and whole or not at all, whatever is wrong with them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foresift.app.pools import open_pool, relabeled
from foresift.app.runs.labels import Import, Imported, agreement_of, chosen_run, export_labels, import_labels, labels_of
from foresift.app.workspace import Workspace
from foresift.core.errors import LabelError, MissingPathError, UsageError
from foresift.core.records import PoolSample, Records
from foresift.core.rounds import Round, Run
from foresift.core.samples import Pool


class Scene:
    """A run over 60 digits whose first round is trained and whose second one waits; six samples each."""

    def __init__(self, workspace: Workspace, folder: Path, *, remembered: bool = True) -> None:
        self.workspace = workspace
        self.records: Records = workspace.records()
        self.pool: Pool = open_pool(workspace, folder)
        self.ids: list[str] = self.pool.ids.tolist()
        self.run = self.records.add_run(Run(id="run-1", pool=self.pool.name, config={"classes": ["0", "1", "2"]}))
        if remembered:
            samples = (PoolSample(id=one.id, uri=one.uris[0], digest=one.digest) for one in self.pool)
            self.records.add_samples(self.pool.name, samples)
        self._round(1, self.ids[:6], "done")
        self._round(2, self.ids[6:12], "labeling")

    def _round(self, number: int, ids: list[str], state: str) -> None:
        kept = self.records.add_round(Round(run="run-1", number=number, budget=6, strategy="random"))
        self.records.change_round(replace(kept, selected=tuple(ids), state=state))

    def take(self, path: Path, **more: object) -> Imported:
        return import_labels(self.workspace, self.records, Import(source=path, **more))  # type: ignore[arg-type]

    @property
    def stored(self) -> Mapping[object, str]:
        return {one.sample_id: one.value for one in labels_of(self.records, self.run)}


@pytest.fixture
def scene(home: Path, pool: Path) -> Scene:
    return Scene(Workspace.open(home), pool)


def table(folder: Path, rows: list[dict[str, object]], name: str = "labels.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def of(scene: Scene, labels: Mapping[int, str]) -> list[dict[str, object]]:
    return [{"id": scene.ids[row], "label": label} for row, label in labels.items()]


def test_a_file_is_taken_once_however_often_it_is_imported(scene: Scene, tmp_path: Path) -> None:
    path = table(tmp_path, of(scene, {6: "0", 7: "1", 8: "cannot-tell"}))
    first = scene.take(path, annotator="ann")
    assert first.news == (3, 0, 0)
    assert first.cannot_tell == 1
    assert (first.open[2].bought, first.open[2].missing) == (3, tuple(scene.ids[9:12]))
    assert scene.take(path, annotator="ann").news == (0, 0, 3)
    assert {one.annotator for one in labels_of(scene.records, scene.run)} == {"ann"}
    assert {one.round for one in labels_of(scene.records, scene.run)} == {2}


def test_a_correction_supersedes_and_history_is_kept(scene: Scene, tmp_path: Path) -> None:
    scene.take(table(tmp_path, of(scene, {6: "0"}), "one.csv"))
    os.utime(later := table(tmp_path, of(scene, {6: "2"}), "two.csv"), (9e8, 9e8))
    assert scene.take(later).news == (0, 1, 0)
    assert scene.stored == {scene.ids[6]: "2"}
    assert [one.value for one in labels_of(scene.records, scene.run, history=True)] == ["0", "2"]
    os.utime(back := table(tmp_path, of(scene, {6: "0"}), "three.csv"), (8e8, 8e8))
    assert scene.take(back).news == (0, 1, 0), "back to the first answer is a correction, too"
    assert scene.stored == {scene.ids[6]: "0"}


def test_answers_to_a_closed_round_are_late_and_kept(scene: Scene, tmp_path: Path) -> None:
    done = scene.take(table(tmp_path, of(scene, {0: "0", 6: "1", 20: "2"})))
    assert (done.late, done.unasked, done.news.new) == (1, 1, 3)
    assert len(scene.stored) == 3


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": "no such id", "label": "0"}, "has no sample 'no such id'"),
        ({"uri": "nowhere.png", "label": "0"}, "has no sample"),
        ({"id": "FIRST", "label": "nine"}, "'nine' is no class of this run"),
        ({"id": "FIRST", "label": "1", "cost": "-3"}, "cost must be"),
        ({"label": "1"}, "neither id nor uri"),
    ],
)
def test_one_bad_row_and_nothing_is_stored(scene: Scene, tmp_path: Path, row: dict[str, object], told: str) -> None:
    bad = {key: scene.ids[7] if value == "FIRST" else value for key, value in row.items()}
    path = table(tmp_path, [*of(scene, {6: "0"}), {"id": "", "uri": "", **bad}])
    with pytest.raises(LabelError, match="Nothing was stored") as error:
        scene.take(path)
    assert told in str(error.value)
    assert "line 3" in str(error.value)
    assert scene.stored == {}
    assert scene.take(path, dry_run=True).refused[0].place == "line 3"


def test_two_answers_to_one_sample_in_one_file_are_asked_back(scene: Scene, tmp_path: Path) -> None:
    rows = [*of(scene, {6: "0"}), *of(scene, {6: "1"})]
    with pytest.raises(LabelError, match="keep one"):
        scene.take(table(tmp_path, rows))
    both = [{**row, "annotator": name} for row, name in zip(rows, ("ann", "bob"), strict=True)]
    assert scene.take(table(tmp_path, both)).news.new == 2
    found = agreement_of(scene.records, scene.run)
    assert (found.samples, found.share) == (1, 0.0)
    assert found.disputed[0].tied


def test_a_named_round_takes_only_what_it_asked(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="round 1 did not ask for it, round 2 did"):
        scene.take(table(tmp_path, of(scene, {6: "0"})), round=1)
    with pytest.raises(UsageError, match="has no round 7"):
        scene.take(table(tmp_path, of(scene, {6: "0"})), round=7)
    assert scene.take(table(tmp_path, of(scene, {6: "0"})), round=2).news.new == 1


def test_a_dry_run_stores_nothing(scene: Scene, tmp_path: Path) -> None:
    done = scene.take(table(tmp_path, of(scene, {6: "0"})), dry_run=True)
    assert done.news.new == 1
    assert scene.stored == {}


def test_nothing_filled_in_and_nothing_there_are_told(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no label is filled in yet"):
        scene.take(table(tmp_path, of(scene, {6: "", 7: ""})))
    with pytest.raises(MissingPathError, match="no such file or folder"):
        scene.take(tmp_path / "nowhere.csv")
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(MissingPathError, match="no file of labels"):
        scene.take(empty)


def test_samples_are_named_by_address_as_well(scene: Scene, tmp_path: Path, pool: Path) -> None:
    uris = [str(scene.pool.uris[row]) for row in (6, 30)]
    done = scene.take(table(tmp_path, [{"uri": uris[0], "label": "0"}, {"uri": uris[1], "label": "1"}]))
    assert done.news.new == 2
    assert set(scene.stored) == {scene.ids[6], scene.ids[30]}


def test_without_remembered_samples_the_pool_is_opened(home: Path, pool: Path, tmp_path: Path) -> None:
    scene = Scene(Workspace.open(home), pool, remembered=False)
    rows = [{"id": scene.ids[6], "uri": "", "label": "0"}, {"id": "", "uri": str(scene.pool.uris[7]), "label": "1"}]
    assert scene.take(table(tmp_path, rows)).news.new == 2
    with pytest.raises(LabelError, match="has no sample"):
        scene.take(table(tmp_path, [{"id": "7", "label": "1"}]))


def test_a_folder_of_files_is_taken_in_order_of_time(scene: Scene, tmp_path: Path) -> None:
    (folder := tmp_path / "labels").mkdir()
    os.utime(table(folder, of(scene, {6: "1"}), "a.csv"), (9e8, 9e8))
    os.utime(table(folder, of(scene, {6: "0", 7: "0"}), "b.csv"), (8e8, 8e8))
    (folder / "c.jsonl").write_text(json.dumps({"id": scene.ids[8], "label": "2"}) + "\n")
    assert scene.take(folder).news == (3, 1, 0)
    assert scene.stored == {scene.ids[6]: "1", scene.ids[7]: "0", scene.ids[8]: "2"}


def test_masks_come_back_under_the_names_of_their_images(scene: Scene, tmp_path: Path) -> None:
    (folder := tmp_path / "masks").mkdir()
    uri = Path(str(scene.pool.uris[6]))
    with Image.open(uri) as image:
        width, height = image.size
    Image.fromarray(np.ones((height, width), dtype=np.uint8)).save(folder / f"{uri.stem}.png")
    scene.take(folder)
    address = scene.stored[scene.ids[6]]
    assert (scene.workspace.home / address).read_bytes() == (folder / f"{uri.stem}.png").read_bytes()
    Image.fromarray(np.ones((3, 3), dtype=np.uint8)).save(folder / f"{uri.stem}.png")
    with pytest.raises(LabelError, match="3 x 3 pixels, expected"):
        scene.take(folder)
    (folder / f"{uri.stem}.png").rename(folder / "stranger.png")
    with pytest.raises(LabelError, match="belongs to no sample"):
        scene.take(folder)


def test_the_only_run_going_on_is_meant_and_others_are_listed(scene: Scene) -> None:
    assert chosen_run(scene.records, None).id == "run-1"
    assert chosen_run(scene.records, "run").id == "run-1"
    with pytest.raises(UsageError, match=r"unknown; give one of: run-1 \(running\)"):
        chosen_run(scene.records, "other")
    scene.records.add_run(Run(id="run-2", pool="elsewhere"))
    with pytest.raises(UsageError, match="ambiguous"):
        chosen_run(scene.records, None)
    assert chosen_run(scene.records, "run-2").id == "run-2"


def test_without_a_run_it_says_what_to_do(home: Path) -> None:
    with pytest.raises(UsageError, match="foresift run FILE"):
        chosen_run(Workspace.open(home).records(), None)


def test_what_is_exported_can_be_trained_on(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no labels yet"):
        export_labels(scene.records, scene.run, tmp_path / "out.csv")
    scene.take(table(tmp_path, of(scene, {6: "0", 7: "1", 8: "cannot-tell"})))
    assert export_labels(scene.records, scene.run, tmp_path / "out.csv") == 2
    trained = relabeled(scene.pool, tmp_path / "out.csv")
    assert {one.id: one.label for one in trained if one.label} == {scene.ids[6]: "0", scene.ids[7]: "1"}
