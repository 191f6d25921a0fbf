"""A device from export to the end of its day: no torch, a quota that holds, nothing sent twice."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import command
from fleets import hits, job
from foresift.app.fleet import device
from foresift.app.fleet.device import open_fleet, run_device
from foresift.app.fleet.device_command import main
from foresift.app.fleet.device_package import modules
from foresift.app.fleet.device_run import DeviceRun
from foresift.app.fleet.exporting import FleetRequest, export_fleet
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ModelError, StoreError, UnknownNameError, UsageError
from foresift.core.hits import AT_DAYS_END, AT_ONCE, Hit
from foresift.engines.onnx import OnnxEngine
from foresift.stores.files import write_json
from foresift.stores.spool import OUTBOX, Spool

pytestmark = pytest.mark.timeout(600)
ALLOWED = ("numpy", "PIL", "onnxruntime")
BLOCKED = [
    *("torch", "torchvision", "timm", "scipy", "sklearn", "numba", "typer", "rich"),
    *("pyarrow", "yaml", "simplejpeg", "lance", "onnx", "onnxscript"),
]
WITHOUT = f"""
import importlib.abc, runpy, sys, time

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is not installed on a device")

sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
start = time.process_time()
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(f"{{time.process_time() - start:.3f}}", file=sys.stderr)
"""


# ---- the exported folder -------------------------------------------------------------------


def on_a_device(exported: Path, frames: Path, folder: Path, *more: object) -> dict[str, Any]:
    """What the exported command tells where nothing else is installed."""
    arguments = [exported / "run.py", frames, "--spool", folder / "spool", "--day", "day-1", *more]
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT, *map(str, arguments)],
        env={"PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_device_needs_onnxruntime_numpy_and_pillow_alone(exported: Path, stream: Path, tmp_path: Path) -> None:
    told = on_a_device(exported, stream, tmp_path, "--device", "cam-1")
    assert (told["frames"], told["sent"]) == (100, 12)
    assert len(hits(tmp_path / "spool" / OUTBOX)) == 12


def test_a_remote_frame_is_told_as_broken_on_a_device(exported: Path, stream: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "frames.csv"
    manifest.write_text(f"uri\nhttps://localhost/1.jpg\n{next(stream.iterdir())}\n")
    told = on_a_device(exported, manifest, tmp_path)
    assert (told["frames"], told["broken"]) == (1, 1)
    assert "a device can't read" in told["reasons"][0]


def test_the_device_package_is_small_and_imports_soon(exported: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT, str(exported / "run.py"), "--help"],
        env={"PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "--spool" in done.stdout, done.stderr
    assert float(done.stderr.splitlines()[-1]) < 1.0  # seconds of the processor, which other programs don't change
    assert len(modules()) < 50
    assert (exported / "requirements.txt").read_text().split() == sorted(
        name.lower() for name in ("numpy", "onnxruntime", "pillow")
    )


def test_the_device_scores_as_the_server_does(exported: Path) -> None:
    fleet = open_fleet(exported)
    assert fleet.parity["images"] >= 50
    assert fleet.parity["max"] < 1e-5 < fleet.parity["score_std"]
    assert fleet.threshold is not None
    assert fleet.threshold > np.median(fleet.calibration)


def test_a_model_or_record_that_was_changed_is_refused(exported: Path, stream: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(exported, tmp_path / "copy")
    record = copy / "fleet.json"
    text = record.read_text()
    record.write_text(text.replace('"margin"', '"entropy"'))
    with pytest.raises(ModelError, match="record was changed"):
        run_device(job(copy, tmp_path / "spool"), str(stream))
    record.write_text(text)
    blob = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(blob[:-1])
    with pytest.raises(ModelError, match="not the file that its record names"):
        run_device(job(copy, tmp_path / "spool"), str(stream))
    assert not (tmp_path / "spool").exists()


def test_what_cannot_be_exported_is_said_before_any_work(
    generation: Path, pool: Path, home: Path, tmp_path: Path
) -> None:
    ask = ("fleet", "export", "--model", generation, "--calibrate", pool)
    assert "needs" not in command(*ask, "--out", tmp_path / "x", "--score", "mutual-information", home=home).out
    with pytest.raises(UnknownNameError):
        FleetRequest(model=generation, calibrate=pool, out=tmp_path / "x", score="mutual-information")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="holds something already"):
        export_fleet(Workspace.open(home), FleetRequest(model=generation, calibrate=pool, out=tmp_path / "full"))
    assert not (tmp_path / "x").exists()


# ---- the run -------------------------------------------------------------------------------


def test_the_quota_is_met_day_after_day_and_hits_go_early(exported: Path, stream: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    for day in ("day-1", "day-2", "day-3"):
        paths = sorted(stream.iterdir())
        np.random.default_rng(int(day[-1])).shuffle(paths)
        report = run_device(job(exported, spool, day=day), "-", stdin=[f"{path}\n" for path in paths])
        assert report.days[day] == 12
        assert report.sent == 12
        assert report.held == 0
    sent = hits(spool / OUTBOX)
    assert [hit.number for hit in sent] == [*range(1, 13)] * 3
    assert {AT_ONCE, AT_DAYS_END} == {hit.why for hit in sent}
    assert not any((spool / "held").iterdir())


def test_a_day_that_was_filled_stays_so_when_the_device_runs_again(
    exported: Path, stream: Path, tmp_path: Path
) -> None:
    run_device(job(exported, tmp_path / "spool"), str(stream))
    again = run_device(job(exported, tmp_path / "spool"), str(stream))
    assert again.sent == 0
    assert again.days == {"day-1": 12}


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 17, 60, 99])
def test_a_power_cut_loses_no_quota_and_sends_nothing_twice(
    exported: Path, stream: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"{path}\n" for path in sorted(stream.iterdir())]

    def cut() -> Iterator[str]:
        yield from paths[:after]
        raise PowerCutError

    options = job(exported, tmp_path / "spool", keep_open=True, batch=1)
    with monkeypatch.context() as patch:
        # The power fails: whatever the device would have written on its way out is not written.
        with pytest.raises(PowerCutError):
            run_device(options, "-", stdin=cut())
        patch.undo()
    report = run_device(job(exported, tmp_path / "spool"), "-", stdin=paths[after:])
    sent = hits(tmp_path / "spool" / OUTBOX)
    assert len(sent) == report.days["day-1"] == 12
    assert len({hit.digest for hit in sent}) == 12
    assert [hit.number for hit in sent] == list(range(1, 13))


def test_a_hit_written_just_before_the_power_failed_counts(exported: Path, stream: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    paths = [f"{path}\n" for path in sorted(stream.iterdir())]
    run_device(job(exported, spool, keep_open=True), "-", stdin=paths[:50])
    before = (spool / "state.json").read_bytes()
    run_device(job(exported, spool, keep_open=True), "-", stdin=paths[50:])
    written = {hit.digest for hit in hits(spool / OUTBOX)}
    assert len(written) > sum(json.loads(before)["days"].values())
    (spool / "state.json").write_bytes(before)
    run_device(job(exported, spool), "-", stdin=[*paths[:50:-1], *paths[50:]])
    sent = hits(spool / OUTBOX)
    assert len(sent) == 12
    assert written <= {hit.digest for hit in sent}  # a new hit takes no old one's place
    assert len({hit.digest for hit in sent}) == 12


def test_the_state_counts_no_hit_that_is_not_on_the_disk(
    exported: Path, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, remember, seen = Spool.send, Spool.remember, []

    def slowly(self: Spool, hit: Hit, data: bytes) -> None:
        time.sleep(0.02)
        send(self, hit, data)

    def looked_at(self: Spool, state: dict[str, Any]) -> None:
        seen.append((sum(state["days"].values()), len(self.waiting())))
        remember(self, state)

    monkeypatch.setattr(Spool, "send", slowly)
    monkeypatch.setattr(Spool, "remember", looked_at)
    run_device(DeviceRun(folder=exported, spool=tmp_path / "spool", device="cam", day="one"), str(stream))
    assert seen[-1] == (12, 12)
    assert all(counted == written for counted, written in seen)


def test_a_disk_that_fails_stops_the_device(
    exported: Path, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Spool, hit: Hit, data: bytes) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Spool, "send", full)
    with pytest.raises(StoreError, match="the disk is full"):
        run_device(DeviceRun(folder=exported, spool=tmp_path / "spool", device="cam", day="one"), str(stream))
    assert not list((tmp_path / "spool").rglob("*.json"))  # no receipt, and no state that counts one


def test_near_duplicates_in_time_are_sent_once(exported: Path, stream: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for at, path in enumerate(sorted(stream.iterdir())[:30]):
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        for view in range(3):
            Image.fromarray(np.clip(pixels + view, 0, 255).astype(np.uint8)).save(frames / f"{at:03d}-{view}.png")
    folder = shutil.copytree(exported, tmp_path / "copy")
    fleet = replace(open_fleet(exported), min_distance=1e-3)  # this tiny network's embeddings calibrate to nothing
    write_json(folder / "fleet.json", {"id": fleet.id, **fleet.to_dict()})
    report = run_device(job(folder, tmp_path / "spool"), str(frames))
    scenes = [Path(hit.uri).name[:3] for hit in hits(tmp_path / "spool" / OUTBOX)]
    assert report.repeats > 0
    assert len(set(scenes)) == len(scenes) == 12


def test_broken_frames_are_told_and_never_sent(exported: Path, stream: Path, tmp_path: Path) -> None:
    broken = sorted(stream.iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:40])
    (stream / "empty.png").touch()
    report = run_device(job(exported, tmp_path / "spool"), str(stream))
    assert report.broken == 2
    assert any(str(broken) in reason for reason in report.reasons)
    assert report.sent == 12


def test_offline_hits_wait_and_go_when_the_folder_is_there(exported: Path, stream: Path, tmp_path: Path) -> None:
    share, spool = tmp_path / "share", tmp_path / "spool"
    offline = run_device(job(exported, spool, upload=share), str(stream))
    assert offline.uploaded == 0
    assert len(hits(spool / OUTBOX)) == 12
    share.mkdir()
    online = run_device(job(exported, spool, upload=share, day="day-2"), str(stream))
    assert online.uploaded == 12 + online.sent
    assert not Spool(spool).waiting()
    assert len(hits(share)) == online.uploaded


def test_the_exported_command_answers_in_json_and_complains_in_a_line(
    exported: Path, stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    line = [str(exported), str(stream), "--spool", str(tmp_path / "spool"), "--day", "d", "--device", "c"]
    assert main([*line, "--quota-per-day", "3"], write=said.append) == 0
    assert json.loads("".join(said))["days"] == {"d": 3}
    assert main([str(exported), str(tmp_path / "absent"), "--spool", str(tmp_path / "s2")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*line, "--quota-per-day", "0"], write=said.append) == 1
    assert "at least 1, got 0" in capsys.readouterr().err
    with pytest.raises(DataError, match="letters, digits"):
        run_device(job(exported, tmp_path / "s3", device="../cam"), str(stream))


@pytest.mark.parametrize(("side", "model_side", "most"), [(16, 8, 64), (1024, 8, 1), (256, 8, 5), (16, 224, 6)])
def test_a_call_holds_many_small_frames_or_a_few_large_ones(
    exported: Path, tmp_path: Path, side: int, model_side: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large as they are decoded, or as the model sees them."""
    seen: list[tuple[int, ...]] = []
    infer, opened = OnnxEngine.__call__, open_fleet(exported)
    seen_by_model = replace(opened, transform=replace(opened.transform, size=model_side))

    def looked_at(self: OnnxEngine, batch: Any) -> Any:
        seen.append(batch.shape)
        return infer(self, batch)

    monkeypatch.setattr(OnnxEngine, "__call__", looked_at)
    monkeypatch.setattr(device, "decode_with_pillow", lambda data, min_side: _decoded(data))
    monkeypatch.setattr(device, "open_fleet", lambda _folder: seen_by_model)
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(70 if most == 64 else 7):
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(frames / f"{number:03}.bmp")
    report = run_device(job(exported, tmp_path / "spool"), str(frames))
    assert report.frames == sum(shape[0] for shape in seen) == len(list(frames.iterdir()))
    assert max(shape[0] for shape in seen) == most


def _decoded(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_day_without_a_proper_name_is_refused_at_once(exported: Path, stream: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="day 'a/b': expected letters"):
        run_device(job(exported, tmp_path / "spool", day="a/b"), str(stream))
    assert not (tmp_path / "spool").exists()


def test_candidates_are_on_the_disk_before_the_state_names_them(
    exported: Path, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, remember, missing, named = Spool.hold, Spool.remember, [], []
    scored = threading.Event()

    def last_of_all(self: Spool, name: str, data: bytes) -> None:
        scored.wait(timeout=60)  # the disk is busy until every frame was read
        hold(self, name, data)

    def paths() -> Iterator[str]:
        yield from (f"{path}\n" for path in sorted(stream.iterdir())[:12])
        scored.set()

    def looked_at(self: Spool, state: dict[str, Any]) -> None:
        there = {path.stem for path in (self.folder / "held").iterdir()}
        named.extend(state["held"])
        missing.extend(set(state["held"]) - there)
        remember(self, state)

    monkeypatch.setattr(Spool, "hold", last_of_all)
    monkeypatch.setattr(Spool, "remember", looked_at)
    report = run_device(job(exported, tmp_path / "spool", keep_open=True), "-", stdin=paths())
    assert report.held == len(named) > 0
    assert not missing


def test_a_candidate_that_could_not_be_written_costs_no_other(
    exported: Path, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, calls = Spool.hold, []

    def fails_once(self: Spool, name: str, data: bytes) -> None:
        calls.append(name)
        if len(calls) == 5:
            raise StoreError("the disk is full")
        hold(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "hold", fails_once)
        with pytest.raises(StoreError, match="the disk is full"):
            run_device(job(exported, tmp_path / "spool", keep_open=True), str(stream))
    state = json.loads((tmp_path / "spool" / "state.json").read_text())
    kept = {path.stem for path in (tmp_path / "spool" / "held").iterdir()}
    assert len(kept) >= 4
    assert set(state["held"]) - kept <= {Path(calls[4]).stem}
    again = run_device(job(exported, tmp_path / "spool", keep_open=True), "-", stdin=[])
    assert again.held == len(set(state["held"]) & kept)
    assert run_device(job(exported, tmp_path / "spool"), str(stream)).days == {"day-1": 12}
