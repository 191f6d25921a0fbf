"""Runs whose labels are masks, as tests write, carry out and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from commands import command
from foresift.app.workspace import Workspace
from run_files import write_run

RECIPE = {"epochs": 2, "batch_size": 4, "precision": "32"}
MASKS: dict[str, Any] = {
    "model": "linknet:mobilenetv3_small_050",
    "strategy": "entropy",
    "rounds": 2,
    "budget": 3,
    "split": "train",
    "ignore_index": 9,
    "recipe": RECIPE,
}
PATCHES: dict[str, Any] = {"unit": "patch", "patch": 16, "budget": 5}


def write(folder: Path, pool: Path, **changed: Any) -> Path:
    """A run file for images and masks."""
    return write_run(folder, pool, **MASKS | changed)


def truth_of(image: str | Path) -> Path:
    """The mask beside an image."""
    return Path(str(image).replace("/images/", "/masks/"))


def asked_in(home: Path, run: str, number: int = 1) -> list[Path]:
    """The images that a round asks for, in order of rank."""
    records = Workspace.open(home).records()
    asked = records.rounds(run)[number - 1].selected
    uris = {one.id: one.uri for one in records.samples(records.run(run).pool, ids=list(asked))}
    return [Path(uris[one]) for one in asked]


def ran(home: Path, file: Path) -> dict[str, Any]:
    """What the command tells of a run after another look."""
    answer = command("run", file, "--json", home=home)
    assert answer.code == 0, answer.err
    return dict(answer.json)


def outcome(told: dict[str, Any]) -> list[Any]:
    """What of every round must not depend on when and where it was done; generations are named by their weights."""
    return [[one[key] for key in ("selected", "labels", "metrics", "generation")] for one in told["rounds"]]
