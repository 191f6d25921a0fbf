"""The workspace: one folder, several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foresift.app.workspace import Workspace
from foresift.core.errors import StoreError

OPENER = """
import sys
from foresift.app.workspace import Workspace
for home in map(str.strip, sys.stdin):
    memory = Workspace.open(home).digests()
    memory.remember([sys.argv[1]], [(1, 1)], ["digest"])
    print(memory.lookup([sys.argv[1]], [(1, 1)]), flush=True)
"""


@pytest.mark.timeout(600)
def test_processes_that_begin_a_workspace_at_once_all_can_use_it(tmp_path: Path) -> None:
    """Often enough that a collision is certain."""
    several = [
        subprocess.Popen([sys.executable, "-c", OPENER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    for attempt in range(100):
        for running in several:
            assert running.stdin is not None
            running.stdin.write(f"{tmp_path / str(attempt)}\n")
            running.stdin.flush()
        for running in several:
            assert running.stdout is not None
            assert running.stdout.readline() == "['digest']\n"
    for running in several:
        running.communicate()


def test_the_home_is_the_option_else_the_variable_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESIFT_HOME", str(tmp_path / "variable"))
    assert Workspace.open(tmp_path / "option").home == tmp_path / "option"
    assert Workspace.open().home == tmp_path / "variable"
    monkeypatch.delenv("FORESIFT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace.open().home == tmp_path / ".foresift"


def test_a_home_that_cannot_be_made_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=str(tmp_path)):
            Workspace.open(home)
