"""The workspace: one folder, several processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from foresift.app.workspace import Workspace
from foresift.core.errors import StoreError
from foresift.core.rounds import Run

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


def test_all_who_ask_for_the_records_share_connections_and_the_last_one_closes_them(home: Path) -> None:
    def held() -> list[str]:
        return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(home))]

    first, second = Workspace.open(home), Workspace.open(home)
    assert first.records() is first.records() is second.records()
    assert Workspace.open(home.with_name("other")).records() is not first.records()
    first.records().add_run(Run(id="r", pool="p"))
    records = second.records()
    del first, second
    assert records.run("r").pool == "p"
    assert held()
    del records
    assert held() == []


def test_records_that_were_closed_are_opened_again(home: Path) -> None:
    workspace = Workspace.open(home)
    with contextlib.closing(workspace.records()) as records:
        records.add_run(Run(id="r", pool="p"))
    assert workspace.records().run("r").pool == "p"


def test_a_workspace_in_the_place_of_another_has_records_of_its_own(home: Path) -> None:
    workspace = Workspace.open(home)
    workspace.records().add_run(Run(id="r", pool="p"))
    home.rename(home.with_name("old"))
    assert Workspace.open(home).records().runs() == ()
    assert Workspace.open(home.with_name("old")).records().run("r").id == "r"


def test_a_transaction_holds_whatever_way_the_records_were_asked_for(home: Path) -> None:
    workspace = Workspace.open(home)
    outer, inner = (place.records().transaction() for place in (workspace, Workspace.open(home)))
    with outer, contextlib.suppress(KeyError), inner:
        workspace.records().add_run(Run(id="r", pool="p"))
        raise KeyError
    assert workspace.records().runs() == ()
