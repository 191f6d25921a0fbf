"""A full disk: one clear line, nothing half-written, and the same command goes on when there is room."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from commands import command
from foresift.app.selecting.receipts import read_receipt

pytestmark = pytest.mark.timeout(600)


def leave(folder: Path, kib: int) -> Path:
    """Fill the disk up to so many KiB."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - kib * 1024)))
    return filler


@pytest.mark.parametrize("kib", [0, 8, 40, 100, 140, 180, 300])
def test_a_workspace_without_room(kib: int, small_disk: Path, pool: Path, generation: Path, tmp_path: Path) -> None:
    home, out = small_disk / "home", tmp_path / "chosen.csv"
    line = ("select", pool, "--model", generation, "--budget", 3, "--out", out)
    filler = leave(small_disk, kib)
    answer = command(*line, home=home)
    if answer.code:
        assert answer.code == 1
        assert str(small_disk) in answer.complaint
        assert not out.exists()
        assert not Path(f"{out}.receipt.json").exists()
    for receipt in (home / "receipts").glob("*.json"):
        read_receipt(receipt)
    filler.unlink()
    assert command(*line, home=home).code == 0
    assert command("replay", out, home=home).code == 0


def test_an_output_without_room_leaves_the_old_one_and_its_receipt(
    small_disk: Path, pool: Path, generation: Path, home: Path
) -> None:
    out = small_disk / "chosen.csv"
    line = ("select", pool, "--model", generation, "--out", out, "--budget")
    assert command(*line, 3, home=home).code == 0
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    filler = leave(small_disk, 4)  # the table of 60 rows needs more than twice that
    answer = command(*line, 60, home=home)
    assert answer.code == 1
    assert "no space left on the disk" in answer.complaint
    filler.unlink()
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == before
    assert json.loads(command("replay", out, "--json", home=home).out)["n"] == 3


def test_a_table_is_not_there_without_its_receipt(small_disk: Path, pool: Path, home: Path) -> None:
    """There is room for one of the two."""
    out = small_disk / "chosen.csv"
    line = ("select", pool, "--strategy", "random", "--budget", 3, "--out", out)
    filler = leave(small_disk, 4)
    answer = command(*line, home=home)
    assert answer.code == 1
    assert "no space left on the disk" in answer.complaint
    assert list(small_disk.iterdir()) == [filler]


def test_predictions_and_generations_without_room(
    small_disk: Path, pool: Path, generation: Path, digit_files: Path, home: Path
) -> None:
    filler = leave(small_disk, 0)
    for line in (
        ["predict", pool, "--model", generation, "--out", small_disk / "p.parquet"],
        ["train", digit_files / "test", "--model", "mlp:64", "--out", small_disk / "gen", "--epochs", 1],
    ):
        answer = command(*line, home=home)
        assert answer.code == 1
        assert "no space left" in answer.complaint.lower(), answer.complaint
    assert not (small_disk / "p.parquet").exists()
    assert not (small_disk / "gen" / "generation.json").exists()
    filler.unlink()
    line = ["train", digit_files / "test", "--model", "mlp:64", "--out", small_disk / "gen", "--epochs", 1]
    assert command(*line, home=home).code == 0
