"""Three generations on one workspace from the command line: train, select, label, inherit, promote."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from commands import Answer, command

DIGITS = ("--classes", ",".join("0123456789"))
QUICK = ("--epochs", 8, "--optimizer", "adamw", "--lr", 0.01)
LARGER = ("--model", "resnet32", "--target", "orin", "--epochs", 30, "--optimizer", "adamw", "--lr", 0.01)


def done(*args: object, home: Path) -> Answer:
    answer = command(*args, home=home)
    assert answer.code == 0, answer.err
    return answer


def fill_in(target: Path, *selections: Path) -> Path:
    """Somebody labels what was selected: here the folders know it; nothing but id and label comes back."""
    rows = [row for one in selections for row in csv.DictReader(one.read_text().splitlines())]
    lines = [f"{row['id']},{Path(row['uri']).parent.name}" for row in rows]
    target.write_text("\n".join(["id,label", *lines]) + "\n")
    return target


@pytest.fixture(scope="module")
def line(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A workspace with three generations: a small CNN, ResNet-20, ResNet-32; and their ids."""
    folder = tmp_path_factory.mktemp("line")
    home, pool = folder / "home", digit_files / "test"
    one, two = folder / "one.csv", folder / "two.csv"
    done("select", pool, "--strategy", "random", "--budget", 40, "--out", one, home=home)
    labels = fill_in(folder / "labels-1.csv", one)
    done(
        "train",
        pool,
        "--labels",
        labels,
        "--model",
        "cnn:8",
        "--out",
        folder / "gen1",
        "--epochs",
        2,
        *DIGITS,
        home=home,
    )
    done("generations", "promote", folder / "gen1", home=home)

    done("select", pool, "--model", "deployed", "--labeled", labels, "--budget", 40, "--out", two, home=home)
    more = fill_in(folder / "labels-2.csv", one, two)
    done("train", pool, "--labels", more, "--model", "resnet20", "--out", folder / "gen2", *QUICK, *DIGITS, home=home)
    done("generations", "promote", folder / "gen2", "--as", "candidate", home=home)
    done("inherit", "candidate", *LARGER, "--out", folder / "gen3", home=home)
    done("generations", "promote", folder / "gen3", "--on", digit_files / "train", home=home)
    ids = [one["generation"] for one in done("generations", "list", "--json", home=home).json["generations"]]
    return home, ids


def listed(home: Path, *args: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done("generations", *(args or ("list",)), "--json", home=home).json["generations"]
    return found


def chose(generation: dict[str, Any]) -> Sequence[tuple[str, list[str], int]]:
    return [(part["strategy"].partition(":")[0], part["surrogates"], part["labels"]) for part in generation["brought"]]


def test_every_generation_knows_who_chose_its_labels(line: tuple[Path, list[str]]) -> None:
    home, _ = line
    first, second, third = listed(home)
    assert [one["architecture"] for one in (first, second, third)] == ["cnn:8", "resnet20", "resnet32"]
    assert [one["number"] for one in (first, second, third)] == [1, 2, 3]
    assert chose(first) == [("random", [], 40)]
    expected = [("random", [], 40), ("margin", [first["generation"]], 40)]
    assert sorted(chose(second)) == sorted(chose(third)) == sorted(expected)
    assert third["heir_of"] == second["generation"]
    assert third["target"] == "orin"
    assert len(set(third["receipts"])) == 2
    assert all((home / "receipts" / f"{receipt}.json").is_file() for receipt in third["receipts"])
    assert third["seed"] == 0
    assert third["recipe"]["epochs"] == 30
    assert [one["aliases"] for one in (first, second, third)] == [[], ["candidate"], ["deployed"]]
    assert third["pool"]["version"] == second["pool"]["version"]


def test_who_chose_is_drawn(line: tuple[Path, list[str]], tmp_path: Path) -> None:
    home, _ = line
    for name in ("line.png", "line.svg"):
        done("generations", "lineage", "deployed", "--picture", tmp_path / name, home=home)
    with Image.open(tmp_path / "line.png") as drawn:
        colours = {colour[:3] for _, colour in drawn.convert("RGB").getcolors(1 << 20)}
    assert {(0x00, 0x72, 0xB2), (0x8C, 0x8C, 0x8C)} <= colours, "by the first generation, and without a model"
    assert (tmp_path / "line.svg").read_text().startswith("<?xml")
    refused = command("generations", "lineage", "--picture", tmp_path / "line.gif", home=home)
    assert (refused.code, (tmp_path / "line.gif").exists()) == (2, False)


def test_the_cache_is_no_part_of_it(line: tuple[Path, list[str]], digit_files: Path, tmp_path: Path) -> None:
    home, ids = line
    before = done("generations", "lineage", "--json", home=home).json
    shutil.rmtree(home / "cache")
    assert done("generations", "lineage", "--json", home=home).json == before
    shown = done("generations", "lineage", ids[2], home=home).out
    assert f"40 labels chosen by cnn:8 {ids[0][:12]} (margin)" in shown
    assert "40 labels chosen by random without a model" in shown

    again = tmp_path / "again.csv"
    selecting = ("select", digit_files / "test", "--model", ids[0], "--labeled", home.parent / "labels-1.csv")
    done(*selecting, "--budget", 40, "--out", again, home=home)
    assert picked(again) == picked(home.parent / "two.csv")
    done("inherit", ids[1], *LARGER, "--out", tmp_path / "gen3", home=home)
    assert [one["generation"] for one in listed(home)] == ids, "the same generation, in another folder"


def picked(selection: Path) -> list[str]:
    return [row["id"] for row in csv.DictReader(selection.read_text().splitlines())]
