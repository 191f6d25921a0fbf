"""Answers to a round: into the records at once, corrected and never lost, several annotators side by side."""

from __future__ import annotations

import getpass
from dataclasses import replace
from pathlib import Path

import pytest

from foresift.app.pools import open_pool
from foresift.app.runs.round_labeling import label_round
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.labels import LabelRecord
from foresift.core.records import PoolSample
from foresift.core.rounds import Round, Run


class Scene:
    """A run over 60 digits whose first round is done and whose second one waits; three samples each."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.workspace = Workspace.open(home)
        self.records = self.workspace.records()
        pool = open_pool(self.workspace, folder)
        self.ids: list[str] = pool.ids.tolist()
        config = {"classes": ["cat", "dog"], "label_price": 0.25}
        self.run = self.records.add_run(Run(id="0123abcd", pool=pool.name, config=config, state="waiting"))
        self.records.add_samples(pool.name, (PoolSample(id=one.id, uri=one.uris[0]) for one in pool))
        self._round(1, self.ids[:3], "done")
        self._round(2, self.ids[3:6], "labeling")
        self.records.add_round(Round(run=self.run.id, number=3, budget=3, strategy="margin"))

    def _round(self, number: int, ids: list[str], state: str) -> None:
        kept = self.records.add_round(Round(run=self.run.id, number=number, budget=3, strategy="margin"))
        self.records.change_round(replace(kept, selected=tuple(ids), state=state))

    def labels(self, *, current: bool = True) -> tuple[LabelRecord, ...]:
        return self.records.labels(run=self.run.id, current=current)


@pytest.fixture
def scene(home: Path, pool: Path) -> Scene:
    return Scene(home, pool)


@pytest.mark.parametrize("spec", ["0123abcd/2", "0123abcd.2", "0123/2", "0123abcd", "0123"])
def test_every_way_to_name_the_round_that_waits(scene: Scene, pool: Path, spec: str) -> None:
    labeling = label_round(scene.workspace, spec)
    assert [one.id for one in labeling.shown] == scene.ids[3:6]
    assert [one.rank for one in labeling.shown] == ["1", "2", "3"]
    assert all(Path(one.uri).parent == pool for one in labeling.shown)
    assert labeling.shown[0].why == "margin"
    assert labeling.classes == ("cat", "dog")
    assert labeling.next_command == "foresift runs resume 0123abcd"
    assert labeling.annotator == getpass.getuser()


def test_an_answer_is_in_the_records_when_it_was_put(scene: Scene) -> None:
    board = label_round(scene.workspace, "0123", annotator="Ann").board
    assert board.put(1, "cat", seen="") == "cat"
    (label,) = scene.labels()
    assert (label.sample_id, label.value, label.annotator) == (scene.ids[4], "cat", "Ann")
    assert (label.round, label.cost, label.source) == (2, 0.25, "page")
    assert list(board.answers()) == ["", "cat", ""]


def test_a_correction_keeps_what_was_said_before(scene: Scene) -> None:
    board = label_round(scene.workspace, "0123", annotator="Ann").board
    board.put(0, "cat", seen="")
    assert board.put(0, "cannot-tell", seen="cat") == "cannot-tell"
    assert [one.value for one in scene.labels()] == ["cannot-tell"]
    assert [one.value for one in scene.labels(current=False)] == ["cat", "cannot-tell"]


def test_nothing_is_taken_back_or_said_twice(scene: Scene) -> None:
    board = label_round(scene.workspace, "0123", annotator="Ann").board
    board.put(0, "cat", seen="")
    assert board.put(0, "", seen="cat") == "cat"
    assert board.put(0, "cat", seen="cat") == "cat"
    assert len(scene.labels(current=False)) == 1
    assert not board.takes_back


def test_annotators_share_the_work_and_lose_nothing(scene: Scene) -> None:
    ann = label_round(scene.workspace, "0123", annotator="Ann").board
    bob = label_round(scene.workspace, "0123", annotator="Bob").board
    ann.put(0, "cat", seen="")
    assert list(bob.answers()) == ["cat", "", ""]
    assert bob.put(0, "dog", seen="") == "cat"
    assert bob.put(0, "dog", seen="cat") == "dog"
    assert {one.annotator: one.value for one in scene.labels()} == {"Ann": "cat", "Bob": "dog"}
    assert list(ann.answers()) == ["cat", "", ""]


def test_independent_annotators_do_not_see_each_other(scene: Scene) -> None:
    ann = label_round(scene.workspace, "0123", annotator="Ann", alone=True).board
    bob = label_round(scene.workspace, "0123", annotator="Bob", alone=True).board
    ann.put(0, "cat", seen="")
    assert list(bob.answers()) == ["", "", ""]
    assert bob.put(0, "dog", seen="") == "dog"
    assert len(scene.records.conflicts(run=scene.run.id)) == 1


def test_a_closed_round_can_be_corrected_and_says_what_that_means(scene: Scene) -> None:
    labeling = label_round(scene.workspace, "0123/1")
    assert "next training" in labeling.notes[0]
    labeling.board.put(0, "dog", seen="")
    assert scene.labels()[0].round == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("0123/4", "has no round 4; it has 3"),
        ("0123/0", "has no round 0"),
        ("0123/3", "has asked for nothing yet"),
        ("none", "give one of: 0123abcd"),
        ("none/1", "give one of: 0123abcd"),
    ],
)
def test_rounds_that_can_not_be_labeled(scene: Scene, spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        label_round(scene.workspace, spec)


def test_a_run_without_a_round_that_waits(scene: Scene) -> None:
    waiting = scene.records.rounds(scene.run.id)[1]
    scene.records.change_round(replace(waiting, state="done"))
    with pytest.raises(UsageError, match="no round that waits for labels; name one"):
        label_round(scene.workspace, "0123")


def test_classes_are_those_of_the_run(scene: Scene) -> None:
    assert label_round(scene.workspace, "0123", classes=("dog", "cat")).classes == ("dog", "cat")
    with pytest.raises(UsageError, match="'catt' is no class of this run; did you mean 'cat'"):
        label_round(scene.workspace, "0123", classes=("catt", "dog"))
