"""What a pool is compared with where nobody says with what: the whole pool of the training, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import command
from conftest import copy_digits
from foresift.app.generations.drift import DriftRequest, drift
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, UsageError
from foresift.sources import remote
from foresift.sources.remote import Limits, Remote
from installed import installed_command
from s3_server import VARIABLE, S3Server

pytestmark = pytest.mark.timeout(200)


def learned(home: Path, pool: Path | str, out: Path, **more: object) -> Path:
    request = TrainRequest(model="mlp:4", out=out, recipe={"epochs": 1}, **more)  # type: ignore[arg-type]
    return train(Workspace.open(home), pool, request).folder


def test_a_model_of_some_labels_is_compared_with_its_whole_pool(
    home: Path, pool: Path, digit_files: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "some.csv"
    named = [path for path in sorted(pool.iterdir()) if path.name < "5"][:20]
    labels.write_text("uri,label\n" + "".join(f"{path},{path.name[0]}\n" for path in named))
    model = learned(home, pool, tmp_path / "gen1", labels=labels)
    others = copy_digits(digit_files / "train", tmp_path / "others", each=3, skip=6)
    told = command("drift", others, "--model", model, "--json", home=home).json
    assert not any("in the reference" in line for line in told["notes"])
    assert (told["reference"], told["reference_n"]) == (str(pool), 60)
    (note,) = (line for line in told["notes"] if "trained on" in line)
    assert note.startswith("the model was trained on 20 of the 60 reference images and is surer of those")
    named[0].unlink()
    told = command("drift", others, "--model", model, "--json", home=home).json
    assert f"1 of the images that the model was trained on are no longer in {pool}" in told["notes"]


def test_images_that_are_their_own_reference_are_told(
    home: Path, pool: Path, digit_files: Path, tmp_path: Path
) -> None:
    model = learned(home, digit_files / "test", tmp_path / "gen1")
    source = learned(home, digit_files / "train", tmp_path / "gen2")
    workspace = Workspace.open(home)
    with pytest.raises(UsageError, match=r"pool is the reference itself: all 60 images .* give .* --reference POOL"):
        drift(workspace, DriftRequest(pool=pool, model=source))
    assert drift(workspace, DriftRequest(pool=pool, model=model)).groups, "it shares none"
    copy_digits(digit_files / "test", pool, each=2)
    notes = drift(workspace, DriftRequest(pool=pool, model=model)).notes
    assert any(note.startswith("20 of the 80 images are in the reference, too") for note in notes)
    notes = drift(workspace, DriftRequest(pool=pool, model=model, reference=pool)).notes
    assert any(note.startswith("80 of the 80 images are in the reference, too") for note in notes)


def test_a_pool_that_is_gone_is_told(home: Path, digit_files: Path, tmp_path: Path, pool: Path) -> None:
    source = tmp_path / "source"
    source.symlink_to(digit_files / "test")
    model = learned(home, source, tmp_path / "gen1")
    source.unlink()
    with pytest.raises(DataError, match=r"trained from \(.*source\) is not there; give images .* --reference POOL"):
        drift(Workspace.open(home), DriftRequest(pool=pool, model=model))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, digit_files: Path) -> Iterator[str]:
    pytest.importorskip("obstore")
    server = S3Server(installed_command(VARIABLE, what="S3 server", target="s3"))
    server.put("bucket")
    for digit in "01":
        for file in sorted((digit_files / "train" / digit).iterdir())[:20]:
            server.put(f"bucket/digits/{digit}/{file.name}", file.read_bytes())
    monkeypatch.setattr(remote, "_made", [Remote(limits=Limits(pause_s=0.01, timeout_s=10, tries=3))])
    for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    yield "s3://bucket/digits"
    server.stop()


def test_a_pool_in_a_bucket_is_where_it_was(bucket: str, home: Path, pool: Path, tmp_path: Path) -> None:
    model = learned(home, bucket, tmp_path / "gen1")
    report = drift(Workspace.open(home), DriftRequest(pool=pool, model=model))
    assert (report.reference, report.reference_n) == (bucket, 40)
