"""A device from export to collection: no torch, a quota that holds, hits that arrive whole and once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import command
from conftest import copy_digits
from foresift.app.fleet.collecting import collect
from foresift.app.fleet.device import DeviceRun, main, open_fleet, run_device
from foresift.app.fleet.device_package import modules
from foresift.app.fleet.exporting import FleetRequest, export_fleet
from foresift.app.passes.stored import PassOptions
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ModelError, StoreError, UnknownNameError, UsageError
from foresift.core.hits import AT_DAYS_END, AT_ONCE, Hit
from foresift.stores.files import write_json
from foresift.stores.spool import OUTBOX, Spool, read_hit

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


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def exported(
    generation: Path, digit_files: Path, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    pool = copy_digits(digit_files / "train", folder / "calibration", each=20)
    request = FleetRequest(
        model=generation,
        calibrate=pool,
        out=folder / "export",
        quota_per_day=12,
        frames_per_day=100,
        options=PassOptions(engine="torch-f32"),
    )
    return export_fleet(workspace, request).folder


@pytest.fixture
def stream(digit_files: Path, tmp_path: Path) -> Path:
    """A hundred frames that calibration has not seen."""
    return copy_digits(digit_files / "train", tmp_path / "stream", each=10, skip=40)


def job(exported: Path, spool: Path, **options: object) -> DeviceRun:
    return DeviceRun(**{"folder": exported, "spool": spool, "device": "cam-1", "day": "day-1", **options})


def hits(folder: Path) -> list[Hit]:
    return [read_hit(path) for path in sorted(folder.glob("*.json"))]


# ---- the exported folder -------------------------------------------------------------------


def test_a_device_needs_onnxruntime_numpy_and_pillow_alone(exported: Path, stream: Path, tmp_path: Path) -> None:
    arguments = [exported / "run.py", stream, "--spool", tmp_path / "spool", "--device", "cam-1", "--day", "day-1"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT, *map(str, arguments)],
        env={"PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["frames"], told["sent"]) == (100, 12)
    assert len(hits(tmp_path / "spool" / OUTBOX)) == 12


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
    with pytest.raises(DataError, match="letters, digits"):
        run_device(job(exported, tmp_path / "s3", device="../cam"), str(stream))


# ---- collection ----------------------------------------------------------------------------


@pytest.fixture
def spool(exported: Path, stream: Path, tmp_path: Path) -> Path:
    run_device(job(exported, tmp_path / "spool"), str(stream))
    return tmp_path / "spool"


def test_hits_are_taken_in_once_and_are_a_pool(spool: Path, home: Path) -> None:
    first = command("fleet", "collect", spool, "--json", home=home)
    assert first.code == 0
    (manifest,) = first.json["pools"]
    assert (first.json["taken"], first.json["already"], first.json["by_device"]) == (12, 0, {"cam-1": 12})
    before = Path(manifest).read_bytes()
    copied = shutil.copytree(spool / OUTBOX, spool.parent / "the same again")
    for folder in (spool, copied):
        again = command("fleet", "collect", folder, "--json", home=home).json
        assert (again["taken"], again["already"], again["refused"]) == (0, 12, [])
    assert Path(manifest).read_bytes() == before
    chosen = command("select", manifest, "--strategy", "random", "--budget", 5, "--json", home=home).json
    assert {row["id"] for row in chosen["selected"]} <= {hit.digest for hit in hits(spool / OUTBOX)}


def test_truncated_changed_and_replayed_uploads_are_refused_with_the_reason(spool: Path, home: Path) -> None:
    box = spool / OUTBOX
    receipts = sorted(box.glob("*.json"))
    sent = hits(box)
    frames = [box / f"{hit.name}{hit.suffix}" for hit in sent]
    frames[0].write_bytes(frames[0].read_bytes()[:-7])
    frames[1].write_bytes(bytes([frames[1].read_bytes()[0] ^ 1]) + frames[1].read_bytes()[1:])
    frames[2].unlink()
    receipts[3].write_text(receipts[3].read_text()[:-9])
    receipts[4].write_text(receipts[4].read_text().replace(sent[4].uri, "/elsewhere"))
    answer = command("fleet", "collect", spool, "--json", home=home)
    assert answer.code == 1
    reasons = {Path(one["receipt"]).name: one["reason"] for one in answer.json["refused"]}
    for path, says in zip(receipts, ["truncated", "other bytes", "missing", "not JSON", "changed"], strict=False):
        assert says in reasons[path.name]
    assert answer.json["taken"] == 7
    (manifest,) = answer.json["pools"]
    assert len(Path(manifest).read_text().splitlines()) == 1 + 7


def test_a_replay_under_another_number_or_with_another_frame_is_refused(spool: Path, home: Path) -> None:
    workspace = Workspace.open(home)
    assert collect(workspace, spool).taken == 12
    hit = hits(spool / OUTBOX)[0]
    data = (spool / OUTBOX / f"{hit.name}{hit.suffix}").read_bytes()
    values = {name: value for name, value in hit.to_dict().items() if name != "id"}
    forged = Spool(spool.parent / "forged")
    forged.send(Hit(**{**values, "day": "day-9"}), data)  # the same frame as another day's
    other = data + b"x"
    from foresift.core.digests import digest_bytes

    forged.send(Hit(**{**values, "digest": digest_bytes(other), "size_bytes": len(other)}), other)
    done = collect(workspace, forged.folder)
    assert (done.taken, done.already) == (0, 0)
    assert all("replayed" in reason for _, reason in done.refused)
    assert len(done.refused) == 2


def test_a_collection_that_was_cut_off_goes_on(spool: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foresift.app.fleet import collecting

    workspace = Workspace.open(home)
    with monkeypatch.context() as patch:
        patch.setattr(collecting, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            collect(workspace, spool)
    assert not list(home.rglob("manifest.csv"))
    assert collect(workspace, spool).taken == 12


def test_frames_of_two_devices_with_equal_bytes_are_one_sample(
    exported: Path, stream: Path, tmp_path: Path, home: Path
) -> None:
    for device in ("cam-1", "cam-2"):
        run_device(job(exported, tmp_path / device, device=device), str(stream))
    workspace = Workspace.open(home)
    assert collect(workspace, tmp_path / "cam-1").taken == 12
    second = collect(workspace, tmp_path / "cam-2")
    assert (second.taken, second.refused) == (12, [])
    assert len(Path(second.pools[0]).read_text().splitlines()) == 1 + 12


def test_a_folder_that_is_none_is_one_line(home: Path, tmp_path: Path) -> None:
    assert "no such folder" in command("fleet", "collect", tmp_path / "absent", home=home).complaint
