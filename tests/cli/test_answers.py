"""What every command has in common: --help, --json, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from commands import command
from foresift.cli.main import app


def names(group: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command as it is typed, those of groups too."""
    found = []
    for name, one in sorted(group.commands.items()):
        found += names(one, (*before, name)) if hasattr(one, "commands") else [(*before, name)]
    return found


COMMANDS = names(get_command(app))


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_of_every_command(name: tuple[str, ...], home: Path) -> None:
    answer = command(*name, "--help", home=home)
    assert answer.code == 0
    assert f"foresift {' '.join(name)}" in answer.out
    assert not home.exists()


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_takes_json(name: tuple[str, ...], home: Path) -> None:
    assert "--json" in command(*name, "--help", home=home).out


def test_answers_are_one_object(pool: Path, generation: Path, digit_files: Path, home: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.csv"
    lines: list[list[object]] = [
        ["strategies"],
        ["scores"],
        ["models", "resnet18*"],
        ["doctor"],
        ["train", digit_files / "test", "--model", "linear", "--out", tmp_path / "gen", "--epochs", 1],
        ["predict", pool, "--model", generation],
        ["evaluate", digit_files / "test", "--model", generation],
        ["select", pool, "--model", generation, "--budget", 3, "--out", chosen],
        ["select", pool, "--strategy", "random", "--budget", 3],
        ["replay", chosen],
        ["explain", chosen, next(pool.iterdir())],
    ]
    for line in lines:
        answer = command(*line, "--json", home=home)
        assert answer.code == 0, answer.err
        assert answer.json
        assert answer.err == ""


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("strategies", {"random", "margin", "entropy", "ratio", "least-confidence", "loss"}),
        ("scores", {"margin", "entropy", "ratio", "least-confidence", "loss"}),
        ("models", {"linear", "resnet20", "resnet18-small"}),
    ],
)
def test_listings_come_from_the_registries(listing: str, expected: set[str], home: Path) -> None:
    rows = command(listing, "--json", home=home).json[listing]
    assert expected <= {row["name"] for row in rows}
    plain = command(listing, home=home).out
    assert all(name in plain for name in expected)


@pytest.mark.parametrize("listing", ["strategies", "scores"])
@pytest.mark.parametrize(("screen", "cited"), [("", False), ("80", False), ("200", True)])
def test_listings_fit_the_screen_and_lose_no_word(
    listing: str, screen: str, cited: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", screen)
    lines = command(listing, home=home).out.splitlines()
    assert max(map(len, lines)) <= int(screen or 100)
    assert lines[0].split()[0] == "name"
    assert ("cite" in lines[0].split()) == cited
    for row in command(listing, "--json", home=home).json[listing]:
        assert any(line.split(" ")[0] == row["name"] for line in lines)
        assert set(row["summary"].split()) <= set(" ".join(lines).split())


def test_an_error_is_an_object_too(home: Path, pool: Path) -> None:
    answer = command("select", pool, "--strategy", "random", "--budget", 0, "--json", home=home)
    assert answer.code == 2
    assert answer.json["kind"] == "BudgetError"
    assert answer.json["error"] in answer.complaint


@pytest.mark.parametrize(
    "line", [[], ["select"], ["nonsense"], ["select", "--budget", "many"], ["train", "x", "--epochs", 0]]
)
def test_a_line_that_makes_no_sense_is_a_usage_error(line: list[object], home: Path) -> None:
    assert command(*line, home=home).code == 2


def test_the_version(home: Path) -> None:
    from importlib.metadata import version

    assert command("--version", home=home).out.strip() == version("foresift")
