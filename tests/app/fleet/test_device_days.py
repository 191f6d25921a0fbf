"""Days by the files' times: in order, each quota spent on the whole of its day, and what comes late is told."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands import command
from fleets import hits, job
from foresift.app.fleet import device
from foresift.app.fleet.device import run_device
from foresift.app.fleet.device_run import BY_CLOCK, BY_FILE
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


def test_frames_dated_before_the_open_day_are_told(exported: Path, cameras: Path, tmp_path: Path, home: Path) -> None:
    manifest = tmp_path / "frames.csv"
    manifest.write_text("".join(f"{line}\n" for line in ("uri", *sorted(cameras.rglob("*.png")))))
    ask = ("fleet", "run", exported, manifest, "--day", "file", "--device", "cam-1", "--spool")
    report = command(*ask, tmp_path / "spool", "--json", home=home).json
    assert report["days"] == dict.fromkeys(DAYS, 12)
    days = Counter(path.parent.name + hit_day(path) for path in cameras.rglob("*.png"))
    assert report["stragglers"] == days[f"cam1{DAYS[0]}"] + days[f"cam1{DAYS[1]}"] == 32
    assert report["late"] == 0
    cameras_of = {(hit.day, Path(hit.uri).parent.name) for hit in hits(tmp_path / "spool" / OUTBOX)}
    assert cameras_of == {*((day, "cam0") for day in DAYS), (DAYS[2], "cam1")}
    told = command(*ask, tmp_path / "other", home=home)
    assert "32 frames dated before the open day were not sent" in told.err
    assert "quota" not in told.err


def hit_day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def test_a_straggler_of_yesterday_does_not_end_today(exported: Path, cameras: Path, tmp_path: Path) -> None:
    paths = in_time(cameras)
    first, second = paths[:32], paths[32:64]
    crossed = [*first[:20], second[0], first[20], second[1], *first[21:], *second[2:]]
    report = run_device(job(exported, tmp_path / "spool", day=BY_FILE), "-", stdin=[f"{path}\n" for path in crossed])
    assert (report.frames, report.stragglers, report.late) == (64, 12, 0)
    plain = run_device(
        job(exported, tmp_path / "plain", day=BY_FILE), "-", stdin=[f"{path}\n" for path in (*first[:20], *second)]
    )
    assert report.days == plain.days
    assert {hit.uri for hit in hits(tmp_path / "spool" / OUTBOX)} == {
        hit.uri for hit in hits(tmp_path / "plain" / OUTBOX)
    }


def sent_uris(spool: Path) -> set[str]:
    return {hit.uri for hit in hits(spool / OUTBOX)}


def dated(path: Path, day: str) -> str:
    """A frame's line, once its file has a day's time."""
    at = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    os.utime(path, (at, at))
    return f"{path}\n"


def test_frames_of_days_that_never_were_do_not_end_today(exported: Path, cameras: Path, tmp_path: Path) -> None:
    paths = in_time(cameras)
    today = [f"{path}\n" for path in paths[:32]]
    old = [dated(path, day) for path, day in zip(paths[64:67], ("2020-01-01", "1970-01-01", "2026-05-03"), strict=True)]
    plain, spool = tmp_path / "plain", tmp_path / "spool"
    for folder, first, rest in (
        (plain, today[:12], today[12:]),
        (spool, [*today[:8], old[0], *today[8:12]], [old[1], *today[12:20], old[2], *today[20:]]),
    ):
        run_device(job(exported, folder, day=BY_FILE, keep_open=True), "-", stdin=first)
        report = run_device(job(exported, folder, day=BY_FILE), "-", stdin=rest)
        assert report.days == {DAYS[0]: 12}
    assert (report.stragglers, report.late, len(report.warnings())) == (2, 0, 1)
    assert "2 frames dated before the open day were not sent" in report.warnings()[0]
    assert sent_uris(spool) == sent_uris(plain)


def test_a_clock_that_is_not_set_yet_does_not_end_today(
    exported: Path, cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [DAYS[0]]
    monkeypatch.setattr(device, "_today", lambda: clock[0])
    lines = [f"{path}\n" for path in in_time(cameras)[:40]]

    def after_a_power_cut() -> Iterator[str]:
        for at, line in enumerate(lines[12:]):
            clock[0] = "1970-01-01" if at < 8 else DAYS[0]
            yield line

    spool = tmp_path / "spool"
    before = run_device(job(exported, spool, day=BY_CLOCK, keep_open=True), "-", stdin=lines[:12])
    report = run_device(job(exported, spool, day=BY_CLOCK, batch=1), "-", stdin=after_a_power_cut())
    assert before.held > 0
    assert (report.stragglers, report.days) == (8, {DAYS[0]: 12})
    assert sent_uris(spool) & {line.strip() for line in lines[20:]}


def test_a_day_ahead_of_the_clock_does_not_silence_the_device(exported: Path, cameras: Path, tmp_path: Path) -> None:
    paths = in_time(cameras)
    far = dated(paths[64], "2099-01-01")
    first, second = ([f"{path}\n" for path in some] for some in (paths[:32], paths[32:64]))
    options = job(exported, tmp_path / "spool", day=BY_FILE)
    report = run_device(options, "-", stdin=[*first[:20], far, *first[20:], *second])
    assert report.days == {DAYS[0]: 12, "2099-01-01": 1, DAYS[1]: 12}
    assert report.stragglers == 12


@pytest.mark.parametrize("names", [("c", "b", "a"), (DAYS[2], DAYS[0], "2020-01-01")])
def test_days_with_names_come_in_any_order(
    exported: Path, cameras: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    lines = [f"{path}\n" for path in in_time(cameras)]
    for at, name in enumerate(names):
        options = job(exported, tmp_path / "spool", day=name, keep_open=True)
        report = run_device(options, "-", stdin=lines[32 * at : 32 * at + 32])
        assert (report.stragglers, report.late) == (0, 0)
    last = run_device(options, "-", stdin=lines[:2])
    assert last.days[names[0]] == last.days[names[1]] == 12
    assert last.stragglers == 0


def test_a_date_ends_a_day_with_a_name(exported: Path, cameras: Path, tmp_path: Path) -> None:
    lines = [f"{path}\n" for path in in_time(cameras)]
    run_device(job(exported, tmp_path / "spool", day="a-test", keep_open=True), "-", stdin=lines[64:])
    report = run_device(job(exported, tmp_path / "spool", day=BY_FILE), "-", stdin=lines[:32])
    assert (report.days, report.stragglers) == ({"a-test": 12, DAYS[0]: 12}, 0)


def test_a_day_that_begins_again_has_what_was_left_and_is_told(exported: Path, cameras: Path, tmp_path: Path) -> None:
    paths = [f"{path}\n" for path in in_time(cameras)]
    short = run_device(job(exported, tmp_path / "spool", day=BY_FILE), "-", stdin=paths[:7])
    assert (short.days, short.late) == ({DAYS[0]: 7}, 0)
    options = job(exported, tmp_path / "spool", day=BY_FILE, keep_open=True)
    rest = run_device(options, "-", stdin=[*paths[7:32], *paths[32:40]])
    assert (rest.late, rest.stragglers) == (25, 0)
    assert "25 frames came when their day had ended, for what its quota had left" in rest.warnings()[0]
    assert rest.days[DAYS[0]] == 12
    straggling = run_device(options, "-", stdin=[*paths[7:9], *paths[40:44]])
    assert (straggling.late, straggling.stragglers) == (0, 2)


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
