"""The light base install selects from a predictions file and answers questions, without any extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foresift.core.predictions import Predictions
from foresift.stores.tables import write_predictions

EXTRAS = [
    "torch",
    "torchvision",
    "timm",
    "pytorch_lightning",
    "torchmetrics",
    "lance",
    "openvino",
    "simplejpeg",
    "matplotlib",
]
RUN = """
import sys
for name in {extras}:
    sys.modules[name] = None
sys.argv = ["foresift", *{arguments}]
from foresift.cli.main import main
main()
"""


def foresift(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = RUN.format(extras=EXTRAS, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "predictions.parquet"
    ids = [f"image-{i}" for i in range(20)]
    write_predictions(path, Predictions.from_arrays(ids, logits=rng.normal(size=(20, 3)), uris=ids))
    return path


def test_selecting_and_replaying_from_a_predictions_file(predictions: Path, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "home")]
    out = str(tmp_path / "picks.csv")
    done = foresift("select", "--predictions", str(predictions), "--budget", "5", "--out", out, "--json", *home)
    assert done.returncode == 0, done.stderr
    chosen = [row["id"] for row in json.loads(done.stdout)["selected"]]
    again = foresift("replay", out, "--json", *home)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["ids"] == chosen


@pytest.mark.parametrize("command", ["strategies", "scores", "--help", "--version"])
def test_questions_are_answered(command: str) -> None:
    assert foresift(command).returncode == 0


def test_a_command_that_lacks_an_extra_names_it(tmp_path: Path) -> None:
    done = foresift("train", str(tmp_path), "--model", "resnet8", "--out", str(tmp_path / "g"), "--home", str(tmp_path))
    assert done.returncode == 1
    assert "foresift[vision]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"data": "nowhere"}, 2, "nowhere: no such file or folder"),
        ({"--val": "nowhere"}, 2, "nowhere: no such file or folder"),
        ({"--model": "./gen9"}, 1, "no generation './gen9'"),
        ({"--model": "0123456789ab"}, 1, "no generation '0123456789ab'"),
        ({"--out": "data"}, 1, "data holds other files"),
        ({"--lr": "-1"}, 2, "lr must be a finite number above 0"),
        ({"--head": "mlp:8"}, 2, "--head is the kind of head for --train head"),
        ({"--head": "linear", "--train": "all"}, 2, "--head is the kind of head for --train head"),
        ({}, 1, "foresift[vision]"),
    ],
)
def test_bad_requests_to_train_are_refused_before_torch_is_loaded(
    changes: dict[str, str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "a").mkdir(parents=True)
    options = {"--model": "linear", "--out": "gen", "--home": "home"} | changes
    data = options.pop("data", "data")
    done = foresift("train", data, *(word for pair in options.items() for word in pair))
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "gen").exists()
