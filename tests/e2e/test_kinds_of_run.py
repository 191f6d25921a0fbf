"""Every kind of run that a file can ask for, from its first label to its answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from foresift.app.runs.lifecycle import carry_on, run_folder, start_run
from foresift.app.runs.pool_files import CANDIDATES, table_rows
from foresift.app.runs.reports import report
from foresift.app.workspace import Workspace
from run_files import InProcess, write_run

TRIED: dict[str, Any] = {"strategy": "auto", "strategies": ["margin", "random"], "max_labels": 40}
KINDS: dict[str, dict[str, Any]] = {
    "shared": {**TRIED, "agent": "shared"},
    "guard": {**TRIED, "guard": True},
    "fixed": {"strategy": "auto", "agent": "fixed"},
    "guards": {"guards": {"max_per_class": 2}},
    "target": {"target": "1 %"},
    "plain": {},
    "initial": {"initial": "auto", "rounds": 2},
}


Told = dict[str, Any]


@pytest.fixture(scope="module")
def told(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Told]:
    """What a finished run of each kind tells; each is played once."""

    @cache
    def play(kind: str) -> Told:
        folder = tmp_path_factory.mktemp(kind)
        workspace = Workspace.open(folder / "home")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("foresift.app.runs.lifecycle.Child", InProcess)
            run = start_run(workspace, write_run(folder, digit_files / "test", **KINDS[kind]))
            return {**report(workspace, carry_on(workspace, run.id)), "folder": run_folder(workspace, run.id)}

    return play


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_within_its_budget_and_asks_for_nothing_twice(kind: str, told: Callable[[str], Told]) -> None:
    run = told(kind)
    assert run["state"] == "finished"
    assert run["rounds"]
    assert {one["state"] for one in run["rounds"]} == {"done"}
    assert run["labels"] <= KINDS[kind].get("max_labels", 30)
    arms: dict[str, list[str]] = {}
    for one in run["rounds"]:
        arms.setdefault(one["strategy"] if kind == "guard" else "one", []).extend(one["selected"])
    assert all(len(set(asked)) == len(asked) for asked in arms.values())


def test_shared_strategies_learn_from_all_labels(told: Callable[[str], Told]) -> None:
    run = told("shared")
    assert [one["labels"] for one in run["rounds"]] == [10 * number for number in range(1, len(run["rounds"]) + 1)]
    assert {one["strategy"] for one in run["rounds"][1:]} <= {"margin", "random"}
    assert [one["action"] for one in run["agent"]["decisions"]].count("draw") == len(run["rounds"]) - 1
    assert run["agent"]["ledgers"]["unique"] == run["agent"]["ledgers"]["per_strategy"] == run["labels"] - 10


def test_a_guarded_trial_says_whom_it_keeps_and_why(told: Callable[[str], Told]) -> None:
    decisions = told("guard")["agent"]["decisions"]
    assert {"keep", "eliminate"} & {one["action"] for one in decisions}
    assert all(one["reason"] for one in decisions)


def test_a_fixed_agent_tries_nothing_and_says_what_it_used(told: Callable[[str], Told]) -> None:
    run = told("fixed")
    assert "agent" not in run
    assert [len(one["selected"]) for one in run["rounds"]] == [10, 10, 10]
    assert all(one["ran"] and one["why"] for one in run["rounds"][1:])


def test_guards_change_what_a_round_with_a_model_chooses_and_no_other(told: Callable[[str], Told]) -> None:
    run = told("guards")
    free = told("plain")
    assert run["rounds"][0]["selected"] == free["rounds"][0]["selected"]
    assert run["rounds"][1]["selected"] != free["rounds"][1]["selected"]


def test_a_run_stops_at_its_target(told: Callable[[str], Told]) -> None:
    run = told("target")
    assert (len(run["rounds"]), run["reason"]) == (1, "the target accuracy is reached")


def test_a_cold_start_chooses_by_the_pools_own_backbone(told: Callable[[str], Told]) -> None:
    run = told("initial")
    first = run["rounds"][0]
    assert (first["strategy"], len(first["selected"])) == ("auto", 10)
    assert "typi" in first["ran"]
    assert (run["folder"] / "backbone" / "generation.json").is_file()
    assert set(first["selected"]) <= {row["id"] for row in table_rows(run["folder"] / CANDIDATES)}
