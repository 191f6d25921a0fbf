"""Runs outlive their workers: they wait for people, are cancelled and resumed, and let an agent choose."""

from __future__ import annotations

import contextlib
import csv
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from commands import command, process, start
from foresift.app.runs.lifecycle import Watch, cancel_run, carry_on, find_run, start_run
from foresift.app.runs.reports import report
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.labels import LabelRecord
from foresift.core.protocols import Silent
from foresift.core.rounds import Run
from run_files import RECIPE, write_run


@pytest.fixture
def images(digit_files: Path) -> Path:
    return digit_files / "test"


def filled_in(file: Path, target: Path, *, rows: slice = slice(None)) -> Path:
    """A file of questions answered by the folders' names."""
    with file.open() as lines:
        asked = list(csv.DictReader(lines))
    with target.open("w") as lines:
        out = csv.DictWriter(lines, list(asked[0]))
        out.writeheader()
        out.writerows({**row, "label": Path(row["uri"]).parent.name} for row in asked[rows])
    return target


def answer(workspace: Workspace, run: Run, *, number: int, count: int | None = None) -> None:
    """What people answered to a round, straight into the records."""
    records = workspace.records()
    asked = records.rounds(run.id)[number - 1].selected[:count]
    truth = {one.id: Path(one.uri).parent.name for one in records.samples(run.pool, ids=list(asked))}
    records.add_labels(
        LabelRecord(sample_id=one, value=truth[one], pool=run.pool, run=run.id, round=number, annotator="ann")
        for one in asked
    )


@pytest.mark.usefixtures("in_process")
def test_a_run_that_waits_for_people_survives_stop_upgrade_and_restart(images: Path, tmp_path: Path) -> None:
    file, home = write_run(tmp_path, images, oracle="files", rounds=2), tmp_path / "home"
    waiting = command("run", file, "--json", home=home)
    assert (waiting.code, waiting.json["state"]) == (0, "waiting")
    questions = home / "inbox" / waiting.json["run"] / "round-1.csv"
    assert str(questions) in waiting.json["reason"]
    assert command("run", file, "--json", home=home).json == waiting.json, "asking again changes nothing"

    delivered = filled_in(questions, tmp_path / "answers.csv")
    for _ in range(2):
        assert command("labels", "import", delivered, "--run", waiting.json["run"], home=home).code == 0

    newer = tmp_path / "newer" / "foresift-99.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: foresift\nVersion: 99.0\n")
    variables = {"PYTHONPATH": f"{newer.parent}:{Path(__file__).parents[3] / 'src'}"}
    with start("--version", home=home, variables=variables) as version:
        assert version.communicate()[0].strip() == "99.0"
    with start("run", file, "--json", home=home, variables=variables) as upgraded:
        err = upgraded.communicate()[1]
    assert upgraded.returncode == 0, err
    told = command("runs", "show", waiting.json["run"], "--json", home=home).json
    assert [one["state"] for one in told["rounds"]] == ["done", "labeling"]
    assert told["rounds"][0]["selected"] == waiting.json["rounds"][0]["selected"]
    assert told["rounds"][0]["labels"] == 10
    history = Workspace.open(home).records().labels(run=told["run"], current=False)
    assert len(history) == 10, "each label was taken once"


@pytest.mark.usefixtures("in_process")
def test_a_round_closes_at_its_quota_and_late_labels_are_learned_from_in_the_next(images: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    run = start_run(workspace, write_run(tmp_path, images, oracle="people", quota=6, rounds=2))
    assert carry_on(workspace, run.id).state == "waiting"
    answer(workspace, run, number=1, count=5)
    waiting = carry_on(workspace, run.id)
    assert waiting.state == "waiting"
    assert "round 1 waits for 5 labels" in waiting.reason
    assert f"foresift labels import FILE --run {run.id}" in waiting.reason

    answer(workspace, run, number=1, count=6)
    carry_on(workspace, run.id)
    answer(workspace, run, number=1)
    answer(workspace, run, number=2)
    assert carry_on(workspace, run.id).state == "finished"
    first, second = workspace.records().rounds(run.id)
    assert (first.details["trained_on"], first.partial) == (6, True)
    assert second.details["trained_on"] == 20
    assert not set(first.selected) & set(second.selected), "nobody is asked twice"


def test_cancelling_kills_the_training_wherever_it_runs(images: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = write_run(tmp_path, images, recipe={**RECIPE, "epochs": 100_000})
    with start("run", file, "--json", home=home) as running:
        run = _in_training(Workspace.open(home))
        (trainer,) = psutil.Process(running.pid).children()
        assert command("runs", "cancel", run.id, home=home).code == 0
        out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    assert '"state": "cancelled"' in out
    assert not trainer.is_running()
    assert Workspace.open(home).records().holder(f"run/{run.id}") is None


def _in_training(workspace: Workspace) -> Run:
    """The run as soon as its first training has begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for run in workspace.records().runs():
            generations = workspace.home / "runs" / run.id / "generations"
            if list(generations.glob("*.training/last.ckpt")):
                return run
        threading.Event().wait(0.1)
    raise AssertionError("no training began")


@pytest.mark.usefixtures("in_process")
def test_two_workers_at_once_are_one_too_many(images: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    file = write_run(tmp_path, images, oracle="people")
    run = start_run(workspace, file)
    workspace.records().acquire(f"run/{run.id}", "elsewhere:machine:12:34", ttl_s=60)
    answer = command("run", file, home=workspace.home)
    assert answer.code == 1
    assert "process 12 on elsewhere is working on it" in answer.err
    assert cancel_run(workspace, run.id).state == "cancelled"


class _Killer(Silent):
    """Kills the child that trains as soon as it says so, once."""

    def __init__(self) -> None:
        self.killed = 0

    def start(self, task: str, total: int) -> None:
        if task == "training" and not self.killed:
            every = psutil.Process().children()  # servers of other tests may be among them
            (trainer,) = [child for child in every if any("runs.tasks" in part for part in child.cmdline())]
            trainer.kill()
            self.killed += 1


def test_a_training_whose_process_dies_is_tried_again_and_the_reason_is_kept(images: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    run = start_run(workspace, write_run(tmp_path, images, rounds=1, recipe={**RECIPE, "epochs": 40}))
    notes: list[str] = []
    killer = _Killer()
    ended = carry_on(workspace, run.id, watch=Watch(note=notes.append, progress=killer))
    assert (ended.state, killer.killed) == ("finished", 1)
    assert any("killed by SIGKILL" in note and "trying again" in note for note in notes)
    retries = [one for one in workspace.records().events(run.id) if one.kind == "retry"]
    assert ["killed by SIGKILL" in one.values["reason"] for one in retries] == [True]


class _StopError(Exception):
    """Ctrl-C, right after a round."""


def _stop(_run: Run, _rounds: object) -> None:
    raise _StopError


@pytest.mark.usefixtures("in_process")
def test_an_agent_keeps_its_budget_tells_its_reasons_and_resumes_to_the_same_ids(images: Path, tmp_path: Path) -> None:
    """One run in one go, one whose worker is stopped after every round."""
    keys: dict[str, Any] = {"strategy": "auto", "strategies": ["margin", "random"], "rounds": 3, "max_labels": 45}
    told = []
    for name, watch in (("whole", Watch()), ("stopped", Watch(done=_stop))):
        workspace = Workspace.open(tmp_path / name)
        run = start_run(workspace, write_run(tmp_path, images, **keys))
        while not workspace.records().run(run.id).is_over:
            with contextlib.suppress(_StopError):
                carry_on(workspace, run.id, watch=watch)
        told.append(report(workspace, workspace.records().run(run.id)))
    one, other = told
    assert [row["selected"] for row in one["rounds"]] == [row["selected"] for row in other["rounds"]]
    assert [row["metrics"] for row in one["rounds"]] == [row["metrics"] for row in other["rounds"]]
    assert one["agent"] == other["agent"]
    assert one["labels"] <= 45
    assert {"buy", "forecast", "eliminate", "stop"} >= {decision["action"] for decision in one["agent"]["decisions"]}
    assert all(decision["reason"] for decision in one["agent"]["decisions"])
    assert one["agent"]["answer"]["strategy"] in ("margin", "random")
    ledgers = one["agent"]["ledgers"]
    assert ledgers["unique"] == one["labels"] - 10 <= ledgers["per_strategy"]


@pytest.mark.usefixtures("in_process")
def test_a_control_arm_shows_what_choosing_brings(images: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    file = write_run(tmp_path, images, control="random", label_price=0.5, rounds=2)
    run = carry_on(workspace, start_run(workspace, file).id)
    told = report(workspace, run)
    assert sorted(row["strategy"] for row in told["rounds"]) == ["margin", "random", "random"]
    gain = told["agent"]["answer"].get("gain") or {}
    assert told["labels"] <= 30
    assert told["agent"]["answer"]["strategy"] == "random" or {"accuracy", "labels_saved", "money"} <= set(gain)


@pytest.mark.usefixtures("in_process")
def test_runs_are_found_by_the_beginning_of_their_id(images: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    run = start_run(workspace, write_run(tmp_path, images))
    assert find_run(workspace, run.id[:5]) == run
    with pytest.raises(UsageError, match="is no run of this workspace"):
        find_run(workspace, "zzz")


def test_a_full_disk_is_told_and_when_there_is_room_again_the_run_goes_on(
    images: Path, small_disk: Path, tmp_path: Path
) -> None:
    home, filler = small_disk / "home", small_disk / "filler"
    file = write_run(tmp_path, images, rounds=1)
    filler.write_bytes(b"x" * 1_900_000)
    full = process("run", file, home=home)
    assert full.code == 1
    assert "no space left" in full.err
    filler.unlink()
    assert process("run", file, "--json", home=home).json["state"] == "finished"
