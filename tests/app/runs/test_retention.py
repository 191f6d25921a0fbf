"""What runs leave behind can go; labels never do."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import command
from foresift.app.runs.lifecycle import carry_on, run_folder, start_run
from foresift.app.runs.reports import report
from foresift.app.runs.retention import delete_run, prune_runs
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.rounds import Run
from run_files import write_run

pytestmark = pytest.mark.usefixtures("in_process")


def finished(home: Path, folder: Path, images: Path, **changed: object) -> tuple[Workspace, Run]:
    workspace = Workspace.open(home)
    return workspace, carry_on(workspace, start_run(workspace, write_run(folder, images, **changed)).id)


def generations(workspace: Workspace, run: Run) -> set[str]:
    return {path.parent.name for path in run_folder(workspace, run.id).glob("generations/*/generation.json")}


def cached(workspace: Workspace) -> list[Path]:
    return list((workspace.cache / "predictions").glob("*.lance"))


def test_a_finished_run_keeps_its_last_model_and_everything_that_was_said(
    digit_files: Path, tmp_path: Path, home: Path
) -> None:
    workspace, run = finished(home, tmp_path, digit_files / "test")
    before, kept = report(workspace, run), workspace.records().rounds(run.id)[-1].details["folder"]
    assert len(generations(workspace, run)) == 3
    assert cached(workspace)
    assert prune_runs(workspace, keep_last=1) == []
    assert prune_runs(workspace, older_than_days=1) == []
    (planned,) = prune_runs(workspace, keep_last=0, dry_run=True)
    assert len(generations(workspace, run)) == 3, "a dry run removes nothing"

    (gone,) = prune_runs(workspace, keep_last=0)
    assert gone == planned
    assert gone.size_bytes > 0
    assert generations(workspace, run) == {Path(kept).name}
    assert not cached(workspace)
    assert report(workspace, run) == before
    told = workspace.records().events(run.id)[-1]
    assert (told.kind, told.values["generations"]) == ("pruned", list(gone.generations))
    assert prune_runs(workspace, keep_last=0) == [], "there is nothing left to remove"


def test_generations_with_an_alias_stay(digit_files: Path, tmp_path: Path, home: Path) -> None:
    workspace, run = finished(home, tmp_path, digit_files / "test", rounds=2)
    first = workspace.records().rounds(run.id)[0].generation
    workspace.descents.give_alias("deployed", {"generation": first}, seen=0)
    prune_runs(workspace, keep_last=0)
    assert len(generations(workspace, run)) == 2
    with pytest.raises(UsageError, match="has an alias; --force deletes it all the same"):
        delete_run(workspace, run.id)


def test_a_deleted_run_is_gone_but_its_labels_and_its_log_are_not(
    digit_files: Path, tmp_path: Path, home: Path
) -> None:
    workspace, run = finished(home, tmp_path, digit_files / "test", rounds=2)
    labels = workspace.records().labels(run=run.id)
    assert len(labels) == 20
    told = command("runs", "delete", run.id[:6], "--dry-run", "--json", home=home).json
    assert (told["labels_kept"], run_folder(workspace, run.id).is_dir()) == (20, True)
    assert "its 20 labels stay" in command("runs", "delete", run.id[:6], home=home).out
    assert not run_folder(workspace, run.id).exists()
    assert workspace.records().runs() == ()
    assert workspace.records().labels(run=run.id) == labels
    assert workspace.records().events(run.id)[-1].kind == "deleted"

    again = carry_on(workspace, start_run(workspace, tmp_path / "run.yaml").id)
    assert (again.id, again.state) == (run.id, "finished")
    assert workspace.records().labels(run=run.id, current=False) == labels, "no label is bought twice"


def test_a_run_that_goes_on_is_deleted_by_force_alone(digit_files: Path, tmp_path: Path, home: Path) -> None:
    workspace = Workspace.open(home)
    run = start_run(workspace, write_run(tmp_path, digit_files / "test", oracle="people"))
    refused = command("runs", "delete", run.id, home=home)
    assert refused.code == 2
    assert f"foresift runs cancel {run.id} stops it, or --force deletes it" in refused.complaint
    assert command("runs", "delete", run.id, "--force", home=home).code == 0
    assert workspace.records().runs() == ()


def test_prune_wants_to_know_which_runs(home: Path) -> None:
    answer = command("runs", "prune", home=home)
    assert answer.code == 2
    assert "expected one of --keep-last N and --older-than DAYS" in answer.complaint
