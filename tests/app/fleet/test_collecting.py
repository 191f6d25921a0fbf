"""Collecting what devices sent: whole, once, and refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import command
from fleets import hits, job
from foresift.app.fleet.collecting import collect
from foresift.app.fleet.device import run_device
from foresift.app.workspace import Workspace
from foresift.core.hits import Hit
from foresift.stores.spool import OUTBOX, Spool

pytestmark = pytest.mark.timeout(600)


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
