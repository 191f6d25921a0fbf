"""A database that goes away and comes back in the middle of a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from foresift.app.runs.lifecycle import Watch, carry_on, start_run
from foresift.app.runs.reports import report
from foresift.app.workspace import Workspace
from foresift.core.errors import StoreError
from foresift.core.records import Records
from foresift.core.rounds import Round, Run
from foresift.stores.records import database, opening
from foresift.stores.records.opening import open_records
from postgres import Postgres, installed_programs
from run_files import write_run

pytestmark = [pytest.mark.usefixtures("in_process"), pytest.mark.timeout(240)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """One of the test's own, since it is stopped; all connections to it are closed before it goes for good."""
    opened: list[Records] = []

    def keep(home: Path, url: str = "") -> Records:
        opened.append(open_records(home, url))
        return opened[-1]

    monkeypatch.setattr(opening, "open_records", keep)
    started = Postgres(installed_programs())
    started.start()
    yield started
    for records in opened:
        records.close()
    started.remove()


def told(workspace: Workspace, run: Run, watch: Watch) -> list[dict[str, Any]]:
    ended = report(workspace, carry_on(workspace, run.id, watch=watch))
    assert ended["state"] == "finished"
    return [{name: one[name] for name in ("selected", "labels", "metrics")} for one in ended["rounds"]]


@pytest.fixture
def undisturbed(digit_files: Path, tmp_path: Path) -> list[dict[str, Any]]:
    workspace = Workspace.open(tmp_path / "undisturbed")
    return told(workspace, start_run(workspace, write_run(tmp_path, digit_files / "test")), Watch())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_that_comes_back_soon_changes_nothing(
    how: signal.Signals,
    server: Postgres,
    undisturbed: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORESIFT_DATABASE_URL", server.new_database())
    workspace = Workspace.open(tmp_path / "home")
    run = start_run(workspace, tmp_path / "run.yaml")
    back: list[threading.Timer] = []

    def stop(_run: Run, rounds: Sequence[Round]) -> None:
        if len(rounds) == 1 and not back:
            server.stop(how)
            back.append(threading.Timer(1.0, server.start))
            back[0].start()

    assert told(workspace, run, Watch(done=stop)) == undisturbed
    back[0].join()
    assert len(workspace.records().labels(run=run.id, current=False)) == 30, "each label once"


def test_that_stays_away_is_one_line_and_the_same_command_goes_on(
    server: Postgres,
    undisturbed: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORESIFT_DATABASE_URL", server.new_database())
    monkeypatch.setattr("foresift.app.runs.lifecycle.AWAY_S", (0.1,))
    monkeypatch.setattr(database.Database.__init__, "__kwdefaults__", {"busy_s": 60.0, "away_s": 0.2})
    workspace = Workspace.open(tmp_path / "home")
    run = start_run(workspace, tmp_path / "run.yaml")

    def stop(_run: Run, rounds: Sequence[Round]) -> None:
        server.stop()

    with pytest.raises(StoreError, match=r"can't be reached .*nothing stored is lost") as caught:
        carry_on(workspace, run.id, watch=Watch(done=stop))
    assert "\n" not in str(caught.value)
    server.start()
    assert told(workspace, run, Watch()) == undisturbed
    assert len(workspace.records().labels(run=run.id, current=False)) == 30, "each label once"
