"""A backup holds all that can't be computed again, may be taken while others write, and comes back whole."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import command
from foresift.app.backups import back_up, restore
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, StoreError, UsageError
from foresift.core.jobs import Event, Job
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.records import Entry, PoolSample, Records
from foresift.core.rounds import Round, Run

pytestmark = pytest.mark.timeout(600)

KINDS = ["sqlite", "postgres"]
KEPT = ("receipts/ab.json", "pools/cd.parquet", "generations/ef.json", "runs/r/pool.json")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return filled(Workspace.open(tmp_path / "home"))


def filled(workspace: Workspace) -> Workspace:
    with closing(workspace.records()) as records:
        run = records.add_run(Run(id="r", pool="p", config={"rounds": 2}))
        records.change_run(replace(run, state="waiting", trial={"round": 1}))
        records.add_round(Round(run="r", number=1, budget=2, strategy="margin", selected=(7, "7")))
        records.add_labels([label(7, "cat"), label("7", CANNOT_TELL), label(7, "dog"), label("\ud800\0", "é")])
        records.register(Entry(kind="pool", id="p1", parents=("p0",)))
        records.add_samples("p", [PoolSample(id=7, uri="7.png"), PoolSample(id="7", uri="b.png")])
        records.add_job(Job(id="j", kind="run"))
        records.add_events([Event(run="r", kind="started"), Event(run="r", kind="selected", values={"n": 2})])
        records.acquire("run/r", "somebody", ttl_s=1000)
    for name in (*KEPT, "cache/digests.sqlite", "runs/r/generation-1/model.safetensors"):
        (workspace.home / name).parent.mkdir(exist_ok=True, parents=True)
        (workspace.home / name).write_text(name)
    return workspace


def label(sample: Any, value: str) -> LabelRecord:
    return LabelRecord(sample_id=sample, value=value, pool="p", run="r", round=1, annotator="ann", cost=0.5)


def everything(records: Records) -> list[Any]:
    labels = [records.labels(run="r"), records.labels(run="r", current=False)]
    return [
        *[records.runs(), records.rounds("r"), labels, records.entries("pool"), records.samples("p")],
        *[records.jobs(), records.events("r")],
    ]


def files(home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("out_of", KINDS)
def test_all_records_come_back_whatever_the_databases(
    out_of: str, into: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def use(kind: str) -> None:
        url = "" if kind == "sqlite" else request.getfixturevalue("postgres").new_database()
        monkeypatch.setenv("FORESIFT_DATABASE_URL", url)

    use(out_of)
    source = filled(Workspace.open(tmp_path / "source"))
    with closing(source.records()) as records:
        expected = everything(records)
    written = back_up(source, tmp_path / "b.zip")
    use(into)
    target = Workspace.open(tmp_path / "target")
    brought = restore(target, tmp_path / "b.zip")
    assert brought == written
    assert brought.records["labels"] == 4
    with closing(target.records()) as records:
        assert everything(records) == expected
        assert records.holder("run/r") is None
        assert records.add_labels([label(7, "cat")]).repeated == 1
        # Counting goes on after what was restored.
        records.add_run(Run(id="later", pool="p"))
        records.add_labels([label(9, "new")])
        records.add_samples("q", [PoolSample(id=1, uri="u")])
        assert [run.id for run in records.runs()] == ["r", "later"]
        assert records.labels(run="r")[-1].value == "new"
        with pytest.raises(UsageError, match="holds records already"):
            restore(target, tmp_path / "b.zip")
    records_of_files = {name for name in files(target.home) if not name.startswith("foresift.")}
    assert records_of_files == set(KEPT)
    assert not [path for path in target.home.iterdir() if path.is_dir() and path.name.startswith(".")]


def test_a_backup_taken_while_others_write_is_of_one_moment(workspace: Workspace, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with closing(workspace.records()) as records:
            number = 0
            while not stop.is_set():
                with records.transaction():
                    records.add_events([Event(run="busy", kind="a")])
                    records.add_labels([replace(label(f"s{number}", "x"), run="busy", id="")])
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            back_up(workspace, tmp_path / f"{number}.zip")
    finally:
        stop.set()
        writer.join()
    for number in range(4):
        target = Workspace.open(tmp_path / f"home{number}")
        restore(target, tmp_path / f"{number}.zip")
        with closing(target.records()) as records:
            assert len(records.events("busy")) == len(records.labels(run="busy"))


def test_a_workspace_with_something_in_it_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    back_up(workspace, tmp_path / "b.zip")
    other = Workspace.open(tmp_path / "other")
    (other.home / "receipts").mkdir()
    (other.home / "receipts" / "mine.json").write_text("mine")
    with pytest.raises(UsageError, match=r"holds receipts/mine.json already; restore into an empty one"):
        restore(other, tmp_path / "b.zip")
    assert files(other.home) == {"receipts/mine.json"}


RESTORE = """
import sys, os, signal
from pathlib import Path
from foresift.app import backups
from foresift.app.workspace import Workspace
real = backups.restore_records
backups.restore_records = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
backups.restore(Workspace.open(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_restore_that_was_killed_is_done_again(workspace: Workspace, tmp_path: Path) -> None:
    back_up(workspace, tmp_path / "b.zip")
    done = subprocess.run([sys.executable, "-c", RESTORE, tmp_path / "new", tmp_path / "b.zip"], check=False)
    assert done.returncode == -9
    restored = restore(Workspace.open(tmp_path / "new"), tmp_path / "b.zip")
    assert restored.records["labels"] == 4


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_torn_file_is_refused_before_anything_is_changed(share: float, workspace: Workspace, tmp_path: Path) -> None:
    whole = back_up(workspace, tmp_path / "b.zip").path.read_bytes()
    (tmp_path / "torn.zip").write_bytes(whole[: int(share * len(whole))])
    fresh = Workspace.open(tmp_path / "fresh")
    with pytest.raises(DataError, match="is no whole backup"):
        restore(fresh, tmp_path / "torn.zip")
    assert files(fresh.home) == set()


def test_changed_bytes_are_found(workspace: Workspace, tmp_path: Path) -> None:
    path = back_up(workspace, tmp_path / "b.zip").path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    fresh = Workspace.open(tmp_path / "fresh")
    with pytest.raises(DataError, match="is no whole backup"):
        restore(fresh, path)
    assert files(fresh.home) == set()


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil", "receipts/../../evil"])
def test_files_outside_of_the_workspace_are_refused(name: str, workspace: Workspace, tmp_path: Path) -> None:
    path = back_up(workspace, tmp_path / "b.zip").path
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(DataError, match="names files outside of the workspace"):
        restore(Workspace.open(tmp_path / "fresh"), path)


def test_what_is_no_backup_is_neither_read_nor_overwritten(workspace: Workspace, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"a photo")
    with pytest.raises(UsageError, match="is there already and no backup"):
        back_up(workspace, photo)
    assert photo.read_bytes() == b"a photo"
    with pytest.raises(DataError, match="is no whole backup"):
        restore(workspace, photo)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("backup.json", json.dumps({"format": 99}))
    with pytest.raises(DataError, match="no backup of format 1"):
        restore(workspace, tmp_path / "other.zip")


def test_a_backup_takes_the_place_of_an_older_one(workspace: Workspace, tmp_path: Path) -> None:
    back_up(workspace, tmp_path / "b.zip")
    assert back_up(workspace, tmp_path / "b.zip").records["runs"] == 1


def test_a_full_disk_leaves_no_half_backup(workspace: Workspace, small_disk: Path) -> None:
    (workspace.home / "pools" / "big.parquet").write_bytes(bytes(range(256)) * 40_000)
    (small_disk / "filler").write_bytes(bytes(2_000_000))
    with pytest.raises(StoreError, match="no space left"):
        back_up(workspace, small_disk / "b.zip")
    assert files(small_disk) == {"filler"}


def test_a_restore_that_is_refused_leaves_no_folder_behind(workspace: Workspace, tmp_path: Path) -> None:
    out = back_up(workspace, tmp_path / "b.zip").path
    (tmp_path / "torn.zip").write_bytes(out.read_bytes()[:2000])
    for file in ("nowhere.zip", "torn.zip"):
        assert command("restore", tmp_path / file, home=tmp_path / "new").code != 0
        assert not (tmp_path / "new").exists(), file
    (tmp_path / "own").mkdir()
    assert command("restore", tmp_path / "torn.zip", home=tmp_path / "own").code != 0
    assert (tmp_path / "own").is_dir(), "a folder that was there stays"
    assert command("restore", out, home=tmp_path / "new").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_workspace_with_records_gets_no_files_beside_them(
    workspace: Workspace, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    back_up(workspace, tmp_path / "b.zip")
    if kind == "postgres":
        monkeypatch.setenv("FORESIFT_DATABASE_URL", request.getfixturevalue("postgres").new_database())
    other = Workspace.open(tmp_path / "other")
    other.records().add_run(Run(id="mine", pool="p"))
    with pytest.raises(UsageError, match=r"holds records already \(1 runs\)"):
        restore(other, tmp_path / "b.zip")
    assert not [name for name in files(other.home) if not name.startswith("foresift.")]


def test_the_commands(workspace: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "b.zip"
    written = command("backup", out, "--json", home=workspace.home).json
    assert written["records"]["labels"] == 4
    answer = command("restore", out, home=tmp_path / "new")
    assert answer.code == 0
    assert "4 labels" in answer.out
    said = command("backup", tmp_path / "c.zip", home=workspace.home).out
    assert said.replace("wrote", "").split("(")[0].split(":", 1)[1] == answer.out.split("(")[0].split(":", 1)[1]
    assert " 1 rounds, 1 runs, 2 samples; " in said
    assert "; files: 1 receipts, 1 pools, 1 generations, 1 runs (of" in said
    assert command("restore", out, home=tmp_path / "new").code == 2
    assert command("restore", tmp_path / "nowhere", home=tmp_path / "x").complaint.endswith("nowhere")
