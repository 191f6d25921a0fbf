"""``foresift demo`` as a user runs it."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from foresift.cli.demo import NEXT
from foresift.cli.main import app
from foresift.core.errors import UnknownNameError

ARGUMENTS = ("demo", "--seeds", "1", "--rounds", "2", "--budget", "12")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli-demo")


@pytest.fixture(scope="module")
def first(folder):
    command = [sys.executable, "-c", "from foresift.cli.main import main; main()", *ARGUMENTS]
    environment = {**os.environ, "FORESIFT_HOME": str(folder / "unused")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


def test_demo_prints_the_table_the_files_and_what_to_do_next(first, folder):
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert any(line.split()[:2] == ["model", "labels"] for line in lines)
    assert sum("generation 2, cnn:24" in line and "pp" in line for line in lines) == 1
    assert lines[-1] == f"next: {NEXT}"
    for name in ("report.html", "curve.png", "contact-sheet.png", "results.json"):
        assert f"  foresift-demo/{name}" in lines
        assert (folder / "foresift-demo" / name).stat().st_size > 0


def test_demo_leaves_no_trace_elsewhere(first, folder):
    assert [path.name for path in folder.iterdir()] == ["foresift-demo"]


def test_demo_again_with_json_gives_one_object_of_the_same_numbers(first, folder, monkeypatch):
    monkeypatch.chdir(folder)
    again = CliRunner().invoke(app, [*ARGUMENTS, "--json"])
    assert (again.exit_code, again.stderr) == (0, "")
    answer = json.loads(again.stdout)
    stored = json.loads((folder / "foresift-demo" / "results.json").read_text())
    assert stored.items() <= answer.items()
    assert all(row["difference"] in first.stdout for row in answer["table"])
    assert all(sentence in " ".join(first.stdout.split()) for sentence in answer["verdicts"])


def test_unknown_strategy_is_refused_before_anything_is_written(tmp_path):
    wrong = CliRunner().invoke(app, ["demo", "--strategy", "marginn", "--out", str(tmp_path / "new")])
    assert isinstance(wrong.exception, UnknownNameError)
    assert not (tmp_path / "new").exists()
