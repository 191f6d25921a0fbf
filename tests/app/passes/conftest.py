"""What tests of ensembles share."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import command
from conftest import copy_digits


@pytest.fixture(scope="module")
def runs(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that kept their last three of four epochs; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        given = ("--model", "mlp:4", "--epochs", 4, "--keep-checkpoints", 3, "--seed", seed)
        answer = command("train", digit_files / "test", *given, "--out", folder / f"run{seed}", home=folder / "home")
        assert answer.code == 0, answer.err
    return [folder / "run0", folder / "run1"]


@pytest.fixture(scope="module")
def small(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of 40 digits; not to be changed."""
    return copy_digits(digit_files / "train", tmp_path_factory.mktemp("small"), each=4)
