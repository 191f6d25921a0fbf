"""The comparison of strategies on a little of CIFAR-10: every cell, resumed, reported as it is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from foresift.core.errors import DataError, UnknownNameError, UsageError
from foresift.studies.image_sets import data_folder, image_set
from foresift.studies.learners import flip_distance
from foresift.studies.strategies import study as strategies
from foresift.studies.strategies.report import page, rows_of, verdicts, write
from foresift.studies.strategies.study import Cell, Comparison, run


def cell(strategy: str, seed: int, *accuracy: float, **told: object) -> Cell:
    return Cell(images="x", learner="head", strategy=strategy, seed=seed, accuracy=accuracy, seconds=(0.1,), **told)  # type: ignore[arg-type]


def made(*cells: Cell) -> Comparison:
    return Comparison(preset="smoke", budgets=(20,), cells=cells, neighbours={"x": 0.5}, seconds=1.0)


@pytest.mark.data
def test_the_study_runs_and_goes_on_where_it_was(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path, preset="smoke", data=data, only=("margin", "max-herding"))
    assert {c.learner for c in first.cells} == {"head", "cnn"}
    assert all(not c.refused and len(c.accuracy) == 2 for c in first.cells)
    by = {(c.learner, c.strategy, c.seed): c for c in first.cells}
    assert by["head", "margin", 0].cold == "random"
    assert by["head", "margin", 0].accuracy[0] == by["head", "random", 0].accuracy[0]
    assert by["head", "max-herding", 0].cold == ""
    files = write(first, tmp_path)
    assert all(file.stat().st_size > 500 for file in files)

    def broken(*_: object) -> Cell:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(strategies, "_run_cell", broken)
    again = run(tmp_path, preset="smoke", data=data, only=("margin", "max-herding"))
    assert again.cells == first.cells


def test_what_did_not_beat_random_is_named() -> None:
    table = {"random": (0.5, 0.5, 0.5), "good": (0.6, 0.61, 0.62), "same": (0.4, 0.5, 0.61), "bad": (0.3, 0.31, 0.3)}
    cells = [cell(name, seed, value) for name, values in table.items() for seed, value in enumerate(values)]
    comparison = made(*cells, cell("late", 0, refused="needs a column"))
    (said,) = verdicts(comparison)
    assert "beat random by more than two standard errors: good." in said
    assert "Did not beat random: same." in said
    assert "Worse than random by more than two standard errors: bad." in said
    assert [row.strategy for row in rows_of(comparison, "x", "head")] == ["good", "same", "random", "bad"]
    text = page(comparison)
    assert "| `good` | 61.0 ± 1.0 | +11.00 ± 1.15 | own | 0.1 |" in text
    assert "- `late` gave no result: needs a column" in text


def test_a_cell_survives_its_file() -> None:
    one = cell("margin", 3, 0.25, labels=(20,), approx="a little")
    assert Cell.from_dict(json.loads(json.dumps(asdict(one)))) == one
    assert one.stem == replace(one, accuracy=()).stem


def test_flip_distance_is_the_distance_to_the_nearest_face() -> None:
    rng = np.random.default_rng(0)
    head, X = rng.normal(size=(4, 6)), rng.normal(size=(30, 5)).astype(np.float32)
    got = flip_distance(head, X)
    for row in range(30):
        logits = head[:, :5] @ X[row] + head[:, 5]
        y = int(logits.argmax())
        faces = [(logits[y] - logits[k]) / np.linalg.norm(head[y, :5] - head[k, :5]) for k in range(4) if k != y]
        assert got[row] == pytest.approx(min(faces), rel=1e-4)
    assert flip_distance(np.ones((3, 6)), X).tolist() == [0.0] * 30


def test_bad_requests_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORESIFT_DATA", raising=False)
    with pytest.raises(UsageError, match="preset must be one of"):
        run(tmp_path, preset="huge")
    with pytest.raises(DataError, match="--data"):
        data_folder(None)
    with pytest.raises(UnknownNameError, match="image set"):
        image_set("imagenet", tmp_path)
    with pytest.raises(DataError, match=r"neither cifar10\.tar\.gz nor a folder"):
        image_set("cifar10-small", tmp_path)
