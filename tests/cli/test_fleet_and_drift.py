"""``foresift fleet simulate`` and ``foresift drift`` as they are typed."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import command

pytestmark = pytest.mark.timeout(600)


def test_a_simulated_fleet_keeps_its_budget_between_random_and_hindsight(
    generation: Path, digit_files: Path, home: Path
) -> None:
    line = ("fleet", "simulate", digit_files / "train", "--model", generation, "--devices", 5, "--days", 4)
    told = command(*line, "--quota-per-day", 10, "--json", home=home).json
    assert (told["frames"], told["over_budget"], told["largest_deviation"]) == (1347, 0, 0)
    ways = {way["way"]: way for way in told["ways"]}
    assert {way["uploaded"] for way in told["ways"]} == {200}
    assert ways["random"]["mean_score"] < ways["fleet"]["mean_score"] <= ways["hindsight"]["mean_score"]
    assert ways["random"]["wrong"] < ways["fleet"]["wrong"]
    again = command(*line, "--quota-per-day", 10, home=home)
    assert "0.0 % off the budget of 10 a day, above it on 0 days" in again.out


def test_frames_of_other_classes_than_the_model_knows_are_refused(
    generation: Path, digit_files: Path, home: Path, tmp_path: Path
) -> None:
    for digit in "012":
        shutil.copytree(digit_files / "test" / digit, tmp_path / "frames" / (digit if digit == "0" else f"no {digit}"))
    line = ("fleet", "simulate", tmp_path / "frames", "--model", generation, "--devices", 1, "--days", 1)
    answer = command(*line, home=home)
    assert answer.code == 1
    assert "labels no 1, no 2 are none of the model's classes (0, 1, " in answer.complaint
    assert "or without labels" in answer.complaint


def test_drift_names_the_source_that_changed(generation: Path, pool: Path, home: Path, tmp_path: Path) -> None:
    rows = []
    for at, path in enumerate(sorted(pool.iterdir())):
        site = "day" if at % 2 else "night"
        if site == "night":
            pixels = np.asarray(Image.open(path).convert("L")) // 3 + 150
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        rows.append({"uri": str(path), "group": site})
    manifest = tmp_path / "pool.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["uri", "group"])
        writer.writeheader()
        writer.writerows(rows)
    told = command("drift", manifest, "--model", generation, "--json", home=home).json
    flags = {one["group"]: one["flagged"] for one in told["groups"]}
    assert "embeddings" in flags["night"]
    assert flags["day"] == []
    assert any("held out of training" in line for line in told["notes"])
    plain = command("drift", manifest, "--model", generation, home=home)
    assert plain.out.splitlines()[2].startswith("night")


def test_images_of_the_same_kind_are_no_drift(generation: Path, digit_files: Path, home: Path) -> None:
    line = ("drift", digit_files / "train", "--model", generation, "--reference", digit_files / "test")
    told = command(*line, "--json", home=home).json
    assert [one["flagged"] for one in told["groups"]] in ([[]], [["scores"]], [["embeddings"]])
    assert told["groups"][0]["psi"] < 0.25


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["drift", "POOL", "--model", "GEN", "--score", "mutual-information"], "needs more"),
        (["drift", "POOL", "--model", "GEN", "--alpha", 2], "alpha"),
        (["drift", "POOL", "--model", "GEN", "--reference", "/absent"], "no such file or folder"),
        (["fleet", "simulate", "POOL", "--model", "GEN", "--days", 100], "too few"),
        (["fleet", "simulate", "POOL", "--model", "GEN", "--score", "badge"], "unknown"),
        (["fleet", "run", "POOL", "POOL", "--spool", "s"], "fleet.json"),
    ],
)
def test_wrong_requests_are_one_line(line: list[object], says: str, generation: Path, pool: Path, home: Path) -> None:
    answer = command(*({"POOL": pool, "GEN": generation}.get(str(word), word) for word in line), home=home)
    assert answer.code in (1, 2)
    assert says in answer.complaint
