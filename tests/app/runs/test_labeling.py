"""What of a selection file is shown to people, and what is refused before they begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foresift.app.pools import labeled_part, open_pool, relabeled
from foresift.app.runs.labeling import label_selection
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, EmptyPoolError, MissingPathError, UsageError

TWO = ("cat", "dog")


@pytest.fixture
def chosen(pool: Path, home: Path, tmp_path: Path) -> Path:
    out = tmp_path / "to label.csv"
    select_from_pool(Workspace.open(home), pool, Request(strategy="random", budget=4, control=0.5, out=out))
    return out


def test_what_is_shown_of_a_selection(chosen: Path, pool: Path) -> None:
    labeling = label_selection(chosen, classes=TWO)
    assert [one.rank for one in labeling.shown] == ["1", "2", "3", "4"]
    assert [Path(one.uri).parent for one in labeling.shown] == [pool] * 4
    assert [one.why for one in labeling.shown] == ["drawn at random, to measure with"] * 2 + ["random"] * 2
    assert labeling.next_command == f"foresift train {pool} --labels '{chosen}' --model NAME --out DIR"
    assert labeling.notes == ()


def test_labels_go_into_the_file_and_come_out_as_a_labels_file(chosen: Path, pool: Path, home: Path) -> None:
    labeling = label_selection(chosen, classes=TWO)
    for row, value in enumerate(["cat", "dog", "cannot-tell"]):
        labeling.board.put(row, value, seen="")
    opened = open_pool(Workspace.open(home), pool)
    assert int(relabeled(opened, chosen).labeled.sum()) == 2
    part = labeled_part(opened, chosen, own_labels=False)
    assert sorted(part.names.tolist()) == ["", "cat", "dog"]
    assert labeling.shown[2].id in part.ids.tolist()


def test_what_nobody_could_tell_trains_nothing_and_is_not_overwritten(chosen: Path, pool: Path, home: Path) -> None:
    label_selection(chosen, classes=TWO).board.put(0, "cannot-tell", seen="")
    found = relabeled(open_pool(Workspace.open(home), pool), chosen)
    assert not found.labeled.any()
    assert "samples that nobody could tell" in found.notes[-1]
    with pytest.raises(UsageError, match="holds 1 labels"):
        select_from_pool(Workspace.open(home), pool, Request(strategy="random", budget=2, out=chosen))


def test_classes_come_from_the_model_that_chose(pool: Path, generation: Path, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen.csv"
    select_from_pool(Workspace.open(home), pool, Request(strategy="margin", budget=3, out=out), model=generation)
    labeling = label_selection(out)
    assert labeling.classes == tuple("0123456789")
    assert labeling.shown[0].score
    assert labeling.shown[0].why == "margin"


def test_labels_in_use_are_classes_too(chosen: Path) -> None:
    label_selection(chosen, classes=TWO).board.put(0, "bird", seen="")
    assert label_selection(chosen, classes=TWO).classes == ("cat", "dog", "bird")


@pytest.mark.parametrize("classes", [(), ("cat",), ("cat", "cat"), ("cat", " ")])
def test_one_class_is_no_question(classes: tuple[str, ...], chosen: Path) -> None:
    with pytest.raises(UsageError, match=r"two classes or more.*--classes cat,dog"):
        label_selection(chosen, classes=classes)


def test_cannot_tell_is_no_class(chosen: Path) -> None:
    with pytest.raises(UsageError, match="leave it out"):
        label_selection(chosen, classes=("cat", "cannot-tell"))


def test_a_copy_is_filled_in_and_gone_on_with(chosen: Path, tmp_path: Path) -> None:
    before, out = chosen.read_bytes(), tmp_path / "new folder" / "copy.csv"
    label_selection(chosen, classes=TWO, out=out).board.put(1, "dog", seen="")
    assert chosen.read_bytes() == before
    assert list(label_selection(chosen, classes=TWO, out=out).board.answers()) == ["", "dog", "", ""]
    assert (out.parent / "copy.csv.receipt.json").is_file()


def test_a_copy_of_something_else_is_refused(chosen: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("id,uri,label\na,/a.png,cat\n")
    with pytest.raises(UsageError, match="names other samples"):
        label_selection(chosen, classes=TWO, out=other)
    with pytest.raises(UsageError, match=r"ending in \.csv"):
        label_selection(chosen, classes=TWO, out=tmp_path / "other.parquet")
    assert other.read_text() == "id,uri,label\na,/a.png,cat\n"


def test_a_damaged_receipt_is_only_a_note(chosen: Path) -> None:
    receipt = chosen.with_name(chosen.name + ".receipt.json")
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "strategy": "margin"}))
    labeling = label_selection(chosen, classes=TWO)
    assert "is not shown" in labeling.notes[0]
    assert labeling.shown[3].why == ""


def test_regions_are_shown_as_such(tmp_path: Path) -> None:
    path = tmp_path / "patches.csv"
    path.write_text("id,uri,label\na#0,16,32,32,/a.png,\n".replace("a#0,16,32,32", '"a#0,16,32,32"'))
    labeling = label_selection(path, classes=TWO)
    assert labeling.shown[0].region == (0, 16, 32, 32)
    assert labeling.next_command == ""


@pytest.mark.parametrize(
    ("text", "said", "kind"),
    [
        ("id,label\na,\n", "no uri", DataError),
        ("id,uri,label\na,/a.png,\na,/b.png,\n", "two rows", DataError),
        ("id,uri,label\n", "names no image", EmptyPoolError),
        ("name\na\n", "no column id or uri", DataError),
    ],
)
def test_what_can_not_be_labeled(text: str, said: str, kind: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "chosen.csv"
    path.write_text(text)
    with pytest.raises(kind, match=said):
        label_selection(path, classes=TWO)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="foresift select --out"):
        label_selection(tmp_path / "none.csv", classes=TWO)
