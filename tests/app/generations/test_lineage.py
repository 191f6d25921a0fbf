"""Registering generations and inheriting from them: what is refused, and what stays."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from commands import command
from conftest import copy_digits
from foresift.app.generations.descent import known, members, register
from foresift.app.generations.hardware import all_generations
from foresift.app.generations.promoting import PromoteRequest, promote
from foresift.app.runs.inheriting import inheritance
from foresift.app.training.request import Trained, TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import LabelError, ModelError, UsageError
from foresift.core.lineage import Heritage

QUICK = {"epochs": 1, "augment": "none"}


def labeled(selection: Path) -> Path:
    """A selection with its label column filled in, its receipt beside it."""
    rows = list(csv.DictReader(selection.read_text().splitlines()))
    lines = [f"{row['rank']},{row['id']},{Path(row['uri']).name.partition('-')[0]}" for row in rows]
    selection.write_text("\n".join(["rank,id,label", *lines]) + "\n")
    return selection


@pytest.fixture
def first(home: Path, pool: Path, tmp_path: Path) -> Trained:
    """A generation from 20 labels that were drawn at random."""
    one = tmp_path / "one.csv"
    assert command("select", pool, "--strategy", "random", "--budget", 20, "--out", one, home=home).code == 0
    return learn(home, pool, labeled(one), tmp_path / "gen1")


def learn(home: Path, pool: Path, labels: Path, out: Path, **more: object) -> Trained:
    digits = tuple("0123456789")  # 20 labels may leave one out
    request = TrainRequest(model="mlp:4", out=out, labels=labels, recipe=QUICK, classes=digits, **more)  # type: ignore[arg-type]
    return train(Workspace.open(home), pool, request)


def test_a_repeated_training_and_other_ways_of_labels_change_nothing(
    first: Trained, home: Path, pool: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(home)
    (before,) = workspace.descents.all()
    assert [(part.strategy, part.labels, part.surrogates) for part in before.brought] == [("random", 20, ())]
    learn(home, pool, tmp_path / "one.csv", tmp_path / "gen1")
    assert workspace.descents.all() == (before,)
    assert len(workspace.descents.labels(before.generation)) == 20
    for file in (tmp_path / "one.csv.receipt.json", home / "receipts" / "picks"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    again = learn(home, pool, tmp_path / "one.csv", tmp_path / "gen2", seed=1)
    parts = known(workspace)[again.generation.id].brought
    assert [(part.receipt, part.labels) for part in parts] == [("", 20)], "nobody is known to have chosen these"


def test_the_lineage_of_a_folder_that_the_workspace_never_saw_is_told(first: Trained, tmp_path: Path) -> None:
    told = command("generations", "lineage", first.folder, home=tmp_path / "other home")
    assert (told.code, told.out.splitlines()[0]) == (0, f"generation 1: mlp:4 {first.generation.id[:12]}")


def test_a_target_named_later_is_kept_and_another_one_told(
    first: Trained, home: Path, pool: Path, tmp_path: Path
) -> None:
    def named(target: str) -> tuple[str, list[str]]:
        heritage = Heritage(target=target)
        done = learn(home, pool, tmp_path / "one.csv", tmp_path / "gen1", heritage=heritage)
        (kept,) = Workspace.open(home).descents.all()
        return kept.target, [note for note in done.notes if "meant for" in note]

    assert named("") == ("", [])
    assert named("jetson-tx2") == ("jetson-tx2", [])
    assert named("") == ("jetson-tx2", [])
    differs = "this generation was registered as meant for jetson-tx2, and stays so: edge-tpu is not kept"
    assert named("edge-tpu") == ("jetson-tx2", [differs])


def test_a_receipt_beside_the_file_counts_in_another_workspace_too_unless_rows_differ(
    first: Trained, pool: Path, tmp_path: Path
) -> None:
    found = learn(tmp_path / "other home", pool, tmp_path / "one.csv", tmp_path / "there")
    (one,) = Workspace.open(tmp_path / "other home").descents.all()
    assert [(part.strategy, part.labels) for part in one.brought] == [("random", 20)]
    lines = (tmp_path / "one.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join(lines[:-1]) + "\n")
    shorter = learn(tmp_path / "third home", pool, tmp_path / "one.csv", tmp_path / "here")
    (one,) = Workspace.open(tmp_path / "third home").descents.all()
    assert [(part.receipt, part.labels) for part in one.brought] == [("", 19)]
    assert found.generation.id != shorter.generation.id


def test_a_generation_that_would_descend_from_itself_is_not_recorded(
    first: Trained, home: Path, pool: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(home)
    from foresift.app.pools import open_pool, relabeled

    note = home / "generations" / f"{first.generation.id}.json"
    before = note.read_text()
    request = TrainRequest(
        model="mlp:4", out=first.folder, labels=tmp_path / "one.csv", heritage=Heritage(heir_of=first.generation.id)
    )
    seen = relabeled(open_pool(workspace, pool), request.labels)
    with pytest.raises(ModelError, match="would descend from itself"):
        register(workspace, first, seen, request, parent=None)
    assert note.read_text() == before


def test_a_deleted_ancestor_is_told_and_nothing_inherited(
    first: Trained, home: Path, pool: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(home)
    ask = ("inherit", "--model", "mlp:4", "--epochs", 1, "--out", tmp_path / "heir", "--data", pool)
    second = learn(
        home, pool, tmp_path / "one.csv", tmp_path / "gen2", heritage=Heritage(heir_of=first.generation.id), seed=1
    )
    (home / "generations" / f"{first.generation.id}.json").unlink()
    answer = command(*ask, second.generation.id, home=home)
    assert answer.code == 1
    assert f"ancestor {first.generation.id[:12]}" in answer.complaint
    assert not (tmp_path / "heir").exists()
    shown = members(workspace)
    assert [(one.descent.generation, one.there) for one in shown] == [
        (first.generation.id, False),
        (second.generation.id, True),
    ]
    shutil.rmtree(second.folder)
    answer = command(*ask, second.generation.id, home=home)
    assert answer.code == 1
    assert "no generation folder" in answer.complaint


def test_a_pool_of_other_classes_or_sizes_is_refused(
    first: Trained, home: Path, digit_files: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(home)
    other = tmp_path / "other"
    for name in ("cat", "dog"):
        (other / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), 3 if name == "cat" else 99).save(other / name / "1.png")
    with pytest.raises(LabelError, match=r"classes \(cat, dog\) that generation"):
        inheritance(workspace, first.generation.id, data=str(other), image_size=None)
    large = copy_digits(digit_files / "train", tmp_path / "large", each=2)
    for file in large.iterdir():
        with Image.open(file) as image:
            image.resize((20, 20)).save(file)
    with pytest.raises(UsageError, match="20 px wide"):
        inheritance(workspace, first.generation.id, data=str(large), image_size=None)
    with pytest.raises(LabelError, match="no label to inherit"):
        inheritance(workspace, first.generation.id, data=str(large), image_size=20)


def test_a_column_of_the_labels_file_names_the_receipt(first: Trained, home: Path, pool: Path, tmp_path: Path) -> None:
    two = tmp_path / "two.csv"
    ask = ("select", pool, "--strategy", "margin", "--model", first.folder, "--budget", 10, "--out", two)
    assert command(*ask, "--control", 0.2, home=home).code == 0
    receipt = json.loads((tmp_path / "two.csv.receipt.json").read_text())["id"]
    rows = list(csv.DictReader(labeled(two).read_text().splitlines()))
    merged = tmp_path / "merged.csv"
    lines = [f"{row['id']},{row['label']},{receipt if number < 9 else ''}" for number, row in enumerate(rows)]
    merged.write_text("\n".join(["id,label,receipt", *lines]) + "\n")
    picks = home / "receipts" / "picks"
    picks.rename(tmp_path / "picks")
    unknown = learn(home, pool, merged, tmp_path / "gen2")
    assert [part.labels for part in known(Workspace.open(home))[unknown.generation.id].brought] == [10]
    (tmp_path / "picks").rename(picks)
    again = learn(home, pool, merged, tmp_path / "gen3", seed=2)
    (part,) = known(Workspace.open(home))[again.generation.id].brought
    assert (part.receipt, part.labels, part.control, part.surrogates) == (receipt, 10, 2, (first.generation.id,))


def test_only_what_beats_the_deployed_one_is_deployed_and_force_is_recorded(
    first: Trained, home: Path, pool: Path, digit_files: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(home)
    held_out = str(digit_files / "test")
    second = learn(home, pool, tmp_path / "one.csv", tmp_path / "gen2", seed=1)
    with pytest.raises(ModelError, match="no generation is deployed yet"):
        workspace.generation_folder("deployed")
    assert promote(workspace, PromoteRequest(generation=str(first.folder))).changed
    assert workspace.generation_folder("deployed") == first.folder
    with pytest.raises(UsageError, match="to beat it on with --on DATA"):
        promote(workspace, PromoteRequest(generation=second.generation.id))
    with pytest.raises(ModelError, match=r"does not beat .*95 % interval"):
        promote(workspace, PromoteRequest(generation=second.generation.id[:8], data=held_out))
    assert workspace.generation_folder("deployed") == first.folder
    forced = promote(workspace, PromoteRequest(generation=str(second.folder), data=held_out, name="t", force=True))
    assert forced.forced
    kept = json.loads((home / "generations" / "aliases" / "deployed.json").read_text())["promotions"]
    assert [(one["generation"], one["forced"]) for one in kept] == [
        (first.generation.id, False),
        (second.generation.id, True),
    ]
    assert kept[1]["evaluation"]["name"] == "t"
    assert kept[1]["evaluation"]["n"] == 450
    assert "does not beat" in kept[1]["reason"]
    shutil.rmtree(second.folder)
    with pytest.raises(ModelError, match=r"to be beaten, is gone .*--force"):
        promote(workspace, PromoteRequest(generation=str(first.generation.id), data=held_out))
    (home / "generations" / "aliases" / "deployed.json").rename(home / "generations" / "aliases" / "candidate.json")
    noted = promote(workspace, PromoteRequest(generation=first.generation.id, alias="candidate", data=held_out))
    assert (noted.before, noted.forced) == (second.generation.id, False)
    assert noted.evaluation is not None
    assert noted.evaluation["n"] == 450
    assert "to be beaten, is gone" in noted.evaluation["not_compared"]


@pytest.fixture
def replaced(first: Trained, home: Path, pool: Path, tmp_path: Path) -> Trained:
    """A second generation in the folder of the first one, which is deployed and was moved to ``moved``."""
    promote(Workspace.open(home), PromoteRequest(generation=str(first.folder)))
    first.folder.rename(tmp_path / "moved")
    return learn(home, pool, tmp_path / "one.csv", first.folder, seed=1)


def test_another_generation_in_the_folder_is_not_taken_for_the_one_that_was_noted(
    first: Trained, replaced: Trained, home: Path, pool: Path, digit_files: Path, tmp_path: Path
) -> None:
    workspace, gone = Workspace.open(home), first.generation.id
    told = rf"folder {first.folder} holds another generation now \({replaced.generation.id[:12]}\)"
    for spec in ("deployed", gone, gone[:8]):
        with pytest.raises(ModelError, match=f"generation {gone[:12]} is gone: {told}"):
            workspace.generation_folder(spec)
    ask = ("select", pool, "--model", "deployed", "--budget", 2, "--out", tmp_path / "two.csv")
    answer = command(*ask, home=home)
    assert answer.code == 1
    assert "holds another generation now" in answer.complaint
    with pytest.raises(ModelError, match=told):
        promote(workspace, PromoteRequest(generation=gone, alias="candidate"))
    with pytest.raises(ModelError, match=rf"to be beaten, is gone \({told}\).*--force"):
        promote(workspace, PromoteRequest(generation=replaced.generation.id, data=str(digit_files / "test")))
    with pytest.raises(ModelError, match=told):
        inheritance(workspace, gone, data=str(pool), image_size=None)
    assert {one.descent.generation: one.there for one in members(workspace)} == {
        gone: False,
        replaced.generation.id: True,
    }
    assert all_generations(workspace) == [str(replaced.folder)]


def test_a_generation_that_was_moved_is_found_again_once_its_folder_is_named(
    first: Trained, replaced: Trained, home: Path, tmp_path: Path
) -> None:
    told = command("generations", "lineage", tmp_path / "moved", home=home)
    assert told.code == 0
    assert told.out.startswith(f"generation 1: mlp:4 {first.generation.id[:12]} (deployed)\n"), (
        "it is there, and says so"
    )
    assert Workspace.open(home).generation_folder("deployed") == tmp_path / "moved"
    assert Workspace.open(home).generation_folder(replaced.generation.id) == first.folder
    shown = command("generations", "list", "--json", home=home).json["generations"]
    assert {one["folder"]: one["there"] for one in shown} == {str(tmp_path / "moved"): True, str(first.folder): True}
