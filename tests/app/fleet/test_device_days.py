"""Days by the files' times: in order, each quota spent on the whole of its day, and what comes late is told."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands import command
from fleets import hits, job
from foresift.app.fleet.device import run_device
from foresift.app.fleet.device_run import BY_FILE
from foresift.sources import remote
from foresift.sources.remote import Limits, Remote
from foresift.stores.spool import OUTBOX
from web_server import WebServer

pytestmark = pytest.mark.timeout(600)
DAYS = ("2026-05-04", "2026-05-05", "2026-05-06")
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def cameras(stream: Path, tmp_path: Path) -> Path:
    """Two folders of 48 frames, the same three days in both."""
    folder = tmp_path / "cameras"
    for at, path in enumerate(sorted(stream.iterdir())[:96]):
        target = folder / f"cam{at % 2}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (_second(at), _second(at)))
    return folder


def _second(at: int) -> float:
    return NOON + 86_400 * (at * 3 // 96) + at


def in_time(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"), key=lambda path: path.stat().st_mtime)


def test_folders_that_share_days_share_their_quotas(exported: Path, cameras: Path, tmp_path: Path) -> None:
    report = run_device(job(exported, tmp_path / "spool", day=BY_FILE), str(cameras))
    assert report.days == dict.fromkeys(DAYS, 12)
    assert (report.late, report.warnings()) == (0, [])
    sent = hits(tmp_path / "spool" / OUTBOX)
    assert {(hit.day, Path(hit.uri).parent.name) for hit in sent} == {(d, c) for d in DAYS for c in ("cam0", "cam1")}
    lines = [f"{path}\n" for path in in_time(cameras)]
    run_device(job(exported, tmp_path / "other", day=BY_FILE, batch=64), "-", stdin=lines)
    assert {hit.digest for hit in sent} == {hit.digest for hit in hits(tmp_path / "other" / OUTBOX)}


def test_days_that_come_back_are_told(exported: Path, cameras: Path, tmp_path: Path, home: Path) -> None:
    manifest = tmp_path / "frames.csv"
    manifest.write_text("".join(f"{line}\n" for line in ("uri", *sorted(cameras.rglob("*.png")))))
    ask = ("fleet", "run", exported, manifest, "--day", "file", "--device", "cam-1", "--spool")
    report = command(*ask, tmp_path / "spool", "--json", home=home).json
    assert report["days"] == dict.fromkeys(DAYS, 12)
    days = Counter(path.parent.name + hit_day(path) for path in cameras.rglob("*.png"))
    assert report["late"] == days[f"cam1{DAYS[0]}"] + days[f"cam1{DAYS[1]}"] == 32
    cameras_of = {(hit.day, Path(hit.uri).parent.name) for hit in hits(tmp_path / "spool" / OUTBOX)}
    assert cameras_of == {*((day, "cam0") for day in DAYS), (DAYS[2], "cam1")}
    told = command(*ask, tmp_path / "other", home=home)
    assert "32 frames came when their day had ended" in told.err


def hit_day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def test_a_straggler_of_yesterday_does_not_end_today(exported: Path, cameras: Path, tmp_path: Path) -> None:
    paths = in_time(cameras)
    first, second = paths[:32], paths[32:64]
    crossed = [*first[:20], second[0], first[20], second[1], *first[21:], *second[2:]]
    report = run_device(job(exported, tmp_path / "spool", day=BY_FILE), "-", stdin=[f"{path}\n" for path in crossed])
    assert (report.frames, report.late) == (64, 12)
    plain = run_device(
        job(exported, tmp_path / "plain", day=BY_FILE), "-", stdin=[f"{path}\n" for path in (*first[:20], *second)]
    )
    assert report.days == plain.days
    assert {hit.uri for hit in hits(tmp_path / "spool" / OUTBOX)} == {
        hit.uri for hit in hits(tmp_path / "plain" / OUTBOX)
    }


def test_a_day_that_begins_again_has_what_was_left_and_is_told(exported: Path, cameras: Path, tmp_path: Path) -> None:
    paths = [f"{path}\n" for path in in_time(cameras)]
    short = run_device(job(exported, tmp_path / "spool", day=BY_FILE), "-", stdin=paths[:7])
    assert (short.days, short.late) == ({DAYS[0]: 7}, 0)
    options = job(exported, tmp_path / "spool", day=BY_FILE, keep_open=True)
    rest = run_device(options, "-", stdin=[*paths[7:32], *paths[32:40]])
    assert rest.late == 25
    assert rest.days[DAYS[0]] == 12
    straggling = run_device(options, "-", stdin=[*paths[7:9], *paths[40:44]])
    assert straggling.late == 2


def test_a_frame_without_a_time_is_told_as_broken(
    exported: Path, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(stream.iterdir())[:4]
    far = Remote(limits=Limits(pause_s=0.01, timeout_s=5, tries=1))
    monkeypatch.setattr(remote, "_made", [far])
    server = WebServer({"far.png": paths[0].read_bytes()})
    server.start()
    try:
        lines = [f"{line}\n" for line in (*server.urls, *paths[1:])]
        report = run_device(job(exported, tmp_path / "spool", day=BY_FILE), "-", stdin=lines)
    finally:
        server.stop()
        far.close()
    assert (report.frames, report.broken) == (3, 1)
    assert "no modification time" in report.reasons[0]
