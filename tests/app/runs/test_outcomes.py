"""What rounds bring over their control arm stands beside what was predicted, once, whatever happens on the way."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import command
from foresift.app.generations.calibrating import calibration_of, forecasts, log_file, remember
from foresift.app.generations.descent import find
from foresift.app.runs.inheriting import ancestor_of
from foresift.app.runs.lifecycle import Watch, carry_on, run_file_of, start_run
from foresift.app.runs.outcomes import gains, record_outcomes
from foresift.app.runs.reports import report
from foresift.app.runs.round_labeling import label_round
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, StoreError, UsageError
from foresift.core.rounds import Round
from foresift.lineage.calibration import Forecast
from run_files import write_run

MADE = Forecast(
    surrogate="mlp:8", deployment="mlp:8", score="margin", predicted=0.4, low=0.3, high=0.5, pilot=0.01, when="now"
)


def done(number: int, strategy: str, turn: int, accuracy: float, **more: Any) -> Round:
    values: dict[str, Any] = {
        "state": "done",
        "selected": (f"{number}a", f"{number}b"),
        "generation": f"g{number}",
        "metrics": {"top1": accuracy},
        **more,
    }
    return Round(run="r", number=number, budget=2, strategy=strategy, details={"turn": turn}, **values)


def test_a_gain_is_that_over_as_many_random_labels_of_the_same_turn() -> None:
    first = [done(1, "random", 0, 0.5), done(2, "margin", 1, 0.625), done(3, "random", 1, 0.5)]
    rounds = [*first, done(4, "margin", 2, 0.75), done(5, "random", 2, 0.875)]
    assert [(one.round.number, one.chosen_by, one.points) for one in gains(rounds)] == [
        (2, "g1", 0.125),
        (4, "g2", -0.125),
    ]
    assert list(gains([first[0], first[1]])) == [], "nothing to compare with"
    assert list(gains([*first[:2], replace(first[2], state="training")])) == []
    assert list(gains([*first[:2], replace(first[2], selected=("x",))])) == [], "fewer labels"
    assert list(gains([first[0], replace(first[1], metrics={}), first[2]])) == []


def test_the_first_choice_of_a_run_that_inherits_is_its_ancestors() -> None:
    began = done(1, "inherited", 0, 0.5, selected=())
    first = [began, done(2, "margin", 1, 0.625), done(3, "random", 1, 0.5)]
    rounds = [*first, done(4, "margin", 2, 0.75), done(5, "random", 2, 0.875)]
    assert [(one.round.number, one.chosen_by, one.points) for one in gains(rounds, ancestor="a")] == [
        (2, "a", 0.125),
        (4, "g2", -0.125),
    ]


@pytest.mark.usefixtures("in_process")
def test_predictions_and_what_came_of_them_are_kept_and_shown(digit_files: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    for one in (MADE, replace(MADE, score="entropy"), replace(MADE, surrogate="another")):
        remember(workspace, one)
    file = write_run(tmp_path, digit_files / "test", control="random", rounds=2)
    run, notes = start_run(workspace, file), []
    carry_on(workspace, run.id, watch=Watch(note=notes.append))
    _, chosen, drawn = workspace.records().rounds(run.id)
    (row,) = (one for one in forecasts(workspace) if one.run)
    gain = chosen.metrics["top1"] - drawn.metrics["top1"]
    assert row == replace(MADE, realised=gain, run=run.id, round=2)
    assert [(one.score, one.outcomes, one.predictions) for one in calibration_of(workspace)] == [("margin", 1, 1)]
    assert [f"brought {100 * gain:+.1f} points" in note for note in notes if "predicted" in note] == [True]
    shown = command("runs", "show", run.id, home=workspace.home).out
    assert "a rank correlation of +0.40 (+0.30 to +0.50); rehearsals had brought +1.0 points" in shown
    assert "predictions of this workspace by margin: 1 known outcome of 1 prediction, too few" in shown
    told = command("calibration", "--json", home=workspace.home).json["forecasts"]
    assert [one["realised"] for one in told] == [None, None, None, gain]


@pytest.mark.usefixtures("in_process")
def test_what_the_ancestor_chose_is_compared_with_as_many_random_labels(
    digit_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_workspace: Workspace) -> Any:
        raise StoreError("the database can't be reached")

    workspace, notes = Workspace.open(tmp_path / "home"), []
    early, late = tmp_path / "early", tmp_path / "late"
    early.mkdir()
    late.mkdir()
    older = carry_on(
        workspace, start_run(workspace, write_run(early, digit_files / "test", rounds=1, model="mlp:4")).id
    )
    (first,) = workspace.records().rounds(older.id)
    ancestor = str(first.generation)
    for name in ("mlp:4", f"mlp:4 {ancestor[:8]}"):
        remember(workspace, replace(MADE, surrogate=name, when=name))
    remember(workspace, MADE)  # of the heir's own architecture: not who chose
    run = start_run(
        workspace, write_run(late, digit_files / "test", control="random", rounds=2, inherit=older.id, target=1.0)
    )
    assert carry_on(workspace, run.id, watch=Watch(note=notes.append)).state == "finished"
    began, *bought = workspace.records().rounds(run.id)
    assert (began.strategy, began.selected, began.receipt) == ("inherited", (), None)
    assert began.details["trained_on"] == 10
    assert sorted((one.strategy, one.details["turn"], one.details["trained_on"]) for one in bought) == [
        ("margin", 1, 20),
        ("margin", 2, 30),
        ("random", 1, 20),
        ("random", 2, 30),
    ]
    listed = command("generations", "list", "--json", home=workspace.home).json["generations"]
    brought = {one["generation"]: [part["surrogates"] for part in one["brought"]] for one in listed}
    chosen = {(one.strategy, one.details["turn"]): one for one in bought}
    assert brought[str(chosen["margin", 1].generation)] == [[], [ancestor]], "the ancestor looked"
    assert brought[str(chosen["random", 1].generation)] == [[], []]
    assert not {*first.selected} & {sample for one in bought for sample in one.selected}
    (row, *later) = (one for one in forecasts(workspace) if one.run)
    assert (row.surrogate, row.round) == (f"mlp:4 {ancestor[:8]}", chosen["margin", 1].number)
    gain = chosen["margin", 1].metrics["top1"] - chosen["random", 1].metrics["top1"]
    assert row.realised == gain
    assert [one.surrogate for one in later] == ["mlp:8"], "later its own models choose"
    shown = command("runs", "show", run.id, home=workspace.home).out
    assert "inherited" in shown
    with monkeypatch.context() as away:
        away.setattr(Workspace, "records", unreachable)
        unmeasured = command("generations", "list", "--json", home=workspace.home).json["generations"]
    assert [one["generation"] for one in unmeasured] == [one["generation"] for one in listed]
    assert {one["generation"]: one["metrics"].get("evaluation") for one in listed} == {
        one.generation: one.metrics for one in (first, *workspace.records().rounds(run.id))
    }
    with pytest.raises(UsageError, match=f"asked for nothing; take {run.id}/2"):
        label_round(workspace, f"{run.id}/1")
    with pytest.raises(BudgetError, match="350 samples without one: of 360, 10 are inherited"):
        start_run(workspace, write_run(late, digit_files / "test", rounds=36, inherit=older.id))

    best = report(workspace, workspace.records().run(run.id))["agent"]["answer"]["strategy"]
    assert ancestor_of(workspace, run.id).generation == chosen[best, 2].generation, "of the arm that is recommended"

    shutil.rmtree(find(workspace, ancestor).folder)
    log_file(workspace).unlink()
    remember(workspace, replace(MADE, surrogate="mlp:4"))
    told = record_outcomes(workspace, run.id, run_file_of(run), workspace.records().rounds(run.id))
    assert [one.round for one in told] == [row.round], "what the ancestor was called is known without it"


@pytest.mark.usefixtures("in_process")
def test_several_strategies_may_start_from_inherited_labels(digit_files: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    early, late = tmp_path / "early", tmp_path / "late"
    early.mkdir()
    late.mkdir()
    older = start_run(workspace, write_run(early, digit_files / "test", rounds=1))
    carry_on(workspace, older.id)
    tried = write_run(
        late, digit_files / "test", strategy="auto", strategies=["margin", "random"], inherit=older.id, max_labels=30
    )
    run = carry_on(workspace, start_run(workspace, tried).id)
    rounds = workspace.records().rounds(run.id)
    assert run.state == "finished"
    assert [one.strategy for one in rounds[:3]] == ["inherited", "margin", "random"]
    assert len({sample for one in rounds for sample in one.selected}) <= 30


class _KilledError(Exception):
    """The worker is gone."""


@pytest.mark.usefixtures("in_process")
def test_a_worker_that_died_before_it_wrote_an_outcome_writes_it_once_when_it_is_back(
    digit_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*given: Any) -> list[Forecast]:
        if any(gains(given[-1])):
            raise _KilledError
        return []

    workspace = Workspace.open(tmp_path / "home")
    remember(workspace, MADE)
    run = start_run(workspace, write_run(tmp_path, digit_files / "test", control="random", rounds=3, max_labels=40))
    with monkeypatch.context() as patch:
        patch.setattr("foresift.app.runs.lifecycle.record_outcomes", die)
        with pytest.raises(_KilledError):
            carry_on(workspace, run.id)
    assert [one.run for one in forecasts(workspace)] == [""]
    assert carry_on(workspace, run.id).state == "finished"
    numbers = [one.round for one in forecasts(workspace) if one.run]
    assert min(numbers) == 2
    assert len(log_file(workspace).read_text().splitlines()) == 1 + len(numbers), "each is written once"


@pytest.mark.usefixtures("in_process")
def test_a_damaged_log_of_predictions_holds_no_run_up(digit_files: Path, tmp_path: Path) -> None:
    workspace, notes = Workspace.open(tmp_path / "home"), []
    log_file(workspace).write_text("nonsense\n")
    run = start_run(workspace, write_run(tmp_path, digit_files / "test", control="random", rounds=2))
    assert carry_on(workspace, run.id, watch=Watch(note=notes.append)).state == "finished"
    assert any("not a row of the calibration log" in note for note in notes)
