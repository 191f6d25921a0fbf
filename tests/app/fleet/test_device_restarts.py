"""A device that starts again, whatever it met before: other quotas, odd names, receipts that it can't read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fleets import hits, job
from foresift.app.fleet.collecting import collect
from foresift.app.fleet.device import open_fleet, run_device
from foresift.app.fleet.device_command import main
from foresift.app.workspace import Workspace
from foresift.stores.files import read_json, write_json
from foresift.stores.spool import OUTBOX

pytestmark = pytest.mark.timeout(600)


def lines(stream: Path) -> list[str]:
    return [f"{path}\n" for path in sorted(stream.iterdir())]


@pytest.mark.parametrize(("first", "then", "sent"), [(12, 80, 80), (80, 12, 12)])
def test_a_quota_may_change_within_a_day(
    exported: Path, stream: Path, tmp_path: Path, home: Path, first: int, then: int, sent: int
) -> None:
    spool, frames = tmp_path / "spool", lines(stream)
    for quota, part in ((first, frames[:10]), (then, frames[10:])):
        run_device(job(exported, spool, keep_open=True, quota_per_day=quota), "-", stdin=part)
    report = run_device(job(exported, spool, quota_per_day=then), "-", stdin=[])
    assert report.days == {"day-1": sent}
    assert [hit.number for hit in hits(spool / OUTBOX)] == list(range(1, sent + 1))
    again = run_device(job(exported, spool, quota_per_day=then), "-", stdin=frames[:1])
    assert (again.unreadable, again.lost) == ([], 0)
    assert collect(Workspace.open(home), spool).taken == sent


@pytest.mark.parametrize("name", ["2024-05-01T12.30.55-cam1", "frame.json", b"cam-\xe4.png"])
def test_frames_with_odd_names_are_sent_like_others(
    exported: Path, stream: Path, tmp_path: Path, home: Path, name: str | bytes
) -> None:
    spool = tmp_path / "spool"
    for at, path in enumerate(sorted(stream.iterdir())[:20]):
        folder = tmp_path / "odd" / str(at)
        folder.mkdir(parents=True)
        shutil.copyfile(path, folder / os.fsdecode(name))
    frames = [f"{path}\n" for path in sorted((tmp_path / "odd").glob("*/*"))]
    run_device(job(exported, spool, keep_open=True), "-", stdin=frames[:5])
    report = run_device(job(exported, spool), "-", stdin=frames[5:])
    assert (report.days, report.lost) == ({"day-1": 12}, 0)
    again = run_device(job(exported, spool), "-", stdin=frames)
    assert (again.sent, again.unreadable) == (0, [])
    done = collect(Workspace.open(home), spool)
    assert (done.taken, done.refused) == (12, [])


def test_a_receipt_that_cannot_be_read_is_told_and_stays(
    exported: Path, stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    share, spool, frames = tmp_path / "share", tmp_path / "spool", lines(stream)
    run_device(job(exported, spool, keep_open=True), "-", stdin=frames[:50])
    last = max((spool / OUTBOX).glob("*.json"))
    number, frame = hits(spool / OUTBOX)[-1].number, last.with_suffix(".png").read_bytes()
    last.write_text('{"torn": ')
    state = read_json(spool / "state.json")
    write_json(spool / "state.json", {**state, "days": {"day-1": number - 1}})  # as before a power cut
    share.mkdir()
    report = run_device(job(exported, spool, upload=share), "-", stdin=frames[50:])
    assert report.days == {"day-1": 12}
    assert len(report.unreadable) == len(report.warnings()) == 1
    assert f"left in the outbox: {last}" in report.warnings()[0]
    assert report.uploaded == len(hits(share)) == 11
    assert number not in {hit.number for hit in hits(share)}
    assert (last.read_text(), last.with_suffix(".png").read_bytes()) == ('{"torn": ', frame)
    assert main([str(exported), str(stream), "--spool", str(spool), "--device", "cam-1", "--day", "day-1"]) == 0
    said = capsys.readouterr()
    assert f"left in the outbox: {last}" in said.err


def test_a_candidate_whose_record_cannot_be_read_costs_no_other(exported: Path, stream: Path, tmp_path: Path) -> None:
    spool, frames = tmp_path / "spool", lines(stream)
    held = run_device(job(exported, spool, keep_open=True), "-", stdin=frames[:40]).held
    state = json.loads((spool / "state.json").read_text())
    next(iter(state["held"].values()))["suffix"] = ".55-cam1"
    write_json(spool / "state.json", state)
    report = run_device(job(exported, spool, keep_open=True), "-", stdin=[])
    assert (report.lost, report.held) == (1, held - 1)
    assert run_device(job(exported, spool), "-", stdin=frames[40:]).days == {"day-1": 12}


def test_another_export_within_a_day_goes_on_with_what_the_day_has_left(
    exported: Path, stream: Path, tmp_path: Path
) -> None:
    spool, frames = tmp_path / "spool", lines(stream)
    run_device(job(exported, spool, keep_open=True), "-", stdin=frames[:50])
    before = len(hits(spool / OUTBOX))
    folder = shutil.copytree(exported, tmp_path / "another")
    fleet = replace(open_fleet(exported), min_distance=0.0)
    write_json(folder / "fleet.json", {"id": fleet.id, **fleet.to_dict()})
    report = run_device(job(folder, spool), "-", stdin=frames[50:])
    assert 0 < before < 12
    assert (report.sent, report.days, report.late) == (12 - before, {"day-1": 12}, 0)
