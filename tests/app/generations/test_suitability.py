"""Suitability from images on disk, and the log of what was predicted and what came of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from commands import command
from foresift.app.generations.calibrating import calibration_of, forecasts, log_file, record_outcome, remember
from foresift.app.generations.suitability import SuitabilityRequest, assess
from foresift.app.workspace import Workspace
from foresift.core.errors import LabelError, ModelError, StoreError, UsageError
from foresift.core.protocols import Silent
from foresift.lineage.calibration import Forecast

ROW = Forecast(surrogate="a", deployment="b", score="margin", predicted=0.4, low=0.1, high=0.6, when="now")


def asked(surrogate: str | Path, data: str | Path | None, **more: object) -> SuitabilityRequest:
    sizes = {"folds": 2, "pilots": 2, "epochs": 2}
    return SuitabilityRequest(surrogate=str(surrogate), deployment="linear", data=data, **{**sizes, **more})  # type: ignore[arg-type]


def labeled(digit_files: Path, folder: Path, *, each: int = 6) -> Path:
    for digit in sorted((digit_files / "train").iterdir()):
        target = folder / "labeled" / digit.name
        target.mkdir(parents=True)
        for file in sorted(digit.iterdir())[:each]:
            (target / file.name).write_bytes(file.read_bytes())
    return folder / "labeled"


def test_a_pair_is_judged_and_remembered(digit_files: Path, generation: Path, tmp_path: Path) -> None:
    workspace, data = Workspace.open(tmp_path / "home"), labeled(digit_files, tmp_path)
    done = assess(workspace, asked(generation, data))
    assert done.found.labels == 60
    assert done.found.budget == 12
    assert -1 <= done.found.usefulness.low <= done.found.usefulness.value <= done.found.usefulness.high <= 1
    assert done.found.pilots == 2
    assert done.found.fit is not None
    assert done.trainings == 10
    assert done.surrogate.startswith("mlp:8 ")
    assert any("linear" in sentence for sentence in done.sentences)
    (row,) = forecasts(workspace)
    assert row == done.forecast
    again = assess(workspace, asked(generation, data))
    assert again.found == done.found


def test_without_data_only_labels_that_the_surrogate_learned_from_are_used(digit_files: Path, tmp_path: Path) -> None:
    labels = tmp_path / "bought.csv"
    owned = sorted(file for digit in (digit_files / "train").iterdir() for file in sorted(digit.iterdir())[:6])
    labels.write_text("\n".join(["uri,label", *(f"{file},{file.parent.name}" for file in owned)]) + "\n")
    training = ("--labels", labels, "--model", "mlp:8", "--epochs", 2, "--out", tmp_path / "model")
    answer = command("train", digit_files / "train", *training, home=tmp_path / "home")
    assert answer.code == 0, answer.err
    assert assess(Workspace.open(tmp_path / "home"), asked(tmp_path / "model", None)).found.labels == len(owned) == 60


def test_what_makes_no_sense_is_refused(digit_files: Path, generation: Path, tmp_path: Path, pool: Path) -> None:
    workspace, data = Workspace.open(tmp_path / "home"), labeled(digit_files, tmp_path, each=1)
    with pytest.raises(UsageError, match="logits alone"):
        assess(workspace, asked(generation, data, score="loss"))
    with pytest.raises(UsageError, match="--data"):
        assess(workspace, asked("linear", None))
    with pytest.raises(LabelError, match="no labels"):
        assess(workspace, asked(generation, pool))
    with pytest.raises(UsageError, match="too few"):
        assess(workspace, asked(generation, data, folds=9))
    with pytest.raises(ModelError):
        assess(workspace, asked(tmp_path / "gone", data))
    (data / "0").rename(data / "zero")
    with pytest.raises(LabelError, match="zero"):
        assess(workspace, asked(generation, data))
    assert forecasts(workspace) == []


class Started(Silent):
    """Remembers what was begun."""

    def __init__(self) -> None:
        self.what: list[str] = []

    def start(self, what: str, total: int) -> None:
        self.what.append(what)


@pytest.mark.parametrize("more", [{"budget": 61}, {"budget": 0}, {"folds": 31}])
def test_what_can_not_be_judged_is_refused_before_anything_is_trained(
    more: dict[str, int], digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    workspace, data, begun = Workspace.open(tmp_path / "home"), labeled(digit_files, tmp_path), Started()
    with pytest.raises(UsageError, match="60"):
        assess(workspace, asked(generation, data, progress=begun, **more))
    assert "training" not in begun.what


def test_an_outcome_stands_beside_its_prediction(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    assert forecasts(workspace) == []
    remember(workspace, ROW)
    record_outcome(workspace, surrogate="a", deployment="b", score="margin", realised=0.02)
    (one,) = forecasts(workspace)
    assert (one.predicted, one.realised) == (0.4, 0.02)
    assert [str(one) for one in calibration_of(workspace)] == [
        "margin: 1 known outcome of 1 prediction, too few to judge predictions by"
    ]
    with pytest.raises(UsageError, match="waits for its outcome"):
        record_outcome(workspace, surrogate="a", deployment="b", score="margin", realised=0.03)


def test_what_predictions_are_worth_is_shown_for_each_score(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    remember(workspace, ROW)
    assert "no outcome is known yet" in command("calibration", home=workspace.home).out
    for at, (pilot, realised) in enumerate([(0.01, 0.03), (0.02, 0.02), (0.03, 0.01), (-0.02, 0.02)]):
        made = replace(ROW, predicted=realised, pilot=pilot, realised=realised, when=str(at))
        remember(workspace, made)
        remember(workspace, replace(made, score="entropy", pilot=None, run="r", round=2))
    table = command("calibration", home=workspace.home).out.partition("\n\n")[2].splitlines()
    margin = next(line for line in table if line.startswith("margin")).split()
    assert (margin[1:3], margin[-2:]) == (["4", "4"], ["75%", "2.0"])
    assert next(line for line in table if line.startswith("entropy")).split()[-4:] == ["0", "-", "-", "-"]
    entropy, margin = command("calibration", "--json", home=workspace.home).json["calibration"]
    assert (margin["score"], margin["off_by"], margin["usefulness"]["value"]) == ("margin", pytest.approx(0.02), 1)
    assert (entropy["outcomes"], entropy["piloted"], entropy["off_by"]) == (4, 0, None)


def test_a_torn_line_is_cut_and_a_broken_one_is_told(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    remember(workspace, ROW)
    file = log_file(workspace)
    file.write_bytes(file.read_bytes() + b'{"surrogate": "a", "depl')
    assert forecasts(workspace) == [ROW]
    remember(workspace, replace(ROW, when="later"))
    assert [one.when for one in forecasts(workspace)] == ["now", "later"]
    file.write_text("nonsense\n")
    with pytest.raises(StoreError, match="line 1"):
        forecasts(workspace)
