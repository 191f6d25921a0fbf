"""Whole numbers in front of a pool: what they are calibrated on, what is kept, when they may rank."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from commands import Answer, command
from foresift.app.models import engine_choice
from foresift.app.models.calibration import Int8
from foresift.app.models.engine_choice import Bench, ScoreInUse, choose_engine
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError
from foresift.core.protocols import Outputs
from foresift.engines import INT8, REFERENCE
from images import unpacked
from installed import installed_library

pytestmark = pytest.mark.timeout(900)
LENIENT = f"{INT8}:correlation=0.5,overlap=0.5"
"""What whole numbers keep even in a tiny network."""


@pytest.fixture(scope="module")
def cifar(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 test images of CIFAR-10 in class folders; not to be changed."""
    installed_library("nncf", extra="int8")
    return unpacked(data, tmp_path_factory.mktemp("cifar"), per_class=12)


@pytest.fixture(scope="module")
def model(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that learned from them; not to be changed."""
    folder = tmp_path_factory.mktemp("model")
    given = ("--model", "resnet8", "--epochs", 2, "--seed", 0, "--out", folder / "gen")
    answer = command("train", cifar, *given, home=folder / "home")
    assert answer.code == 0, answer.err
    return folder / "gen"


@pytest.fixture
def photos(cifar: Path, tmp_path: Path) -> Path:
    """The images without class folders; the test's own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in sorted(cifar.rglob("*.jpg")):
        shutil.copy(file, folder / f"{file.parent.name}-{file.name}")
    return folder


def select(pool: Path, model: Path, *options: object, home: Path) -> Answer:
    asked = ("--model", model, "--budget", 10, "--strategy", "entropy", "--engine", LENIENT, "--batch", 8)
    return command("select", pool, *asked, *options, "--json", home=home)


def record(home: Path) -> dict[str, Any]:
    (path,) = (home / "cache" / "engines").glob("*.calibration.json")
    return dict(json.loads(path.read_text()))


def graphs(home: Path) -> Iterator[Path]:
    return (home / "cache" / "quantised").glob("*/graph.bin")


def test_what_it_was_calibrated_on_is_kept_and_told(photos: Path, model: Path, home: Path) -> None:
    first = select(photos, model, home=home)
    assert first.code == 0, first.err
    engine = first.json["receipt"]["engine"]
    assert engine["engine"] == INT8
    assert engine["checks"][INT8]["passed"] is True
    assert engine["checks"][INT8]["n"] == 120
    kept = record(home)
    assert len(kept["images"]) == len(set(kept["images"])) == 120
    assert engine["calibration"] == {"images": 120, "seed": 0, "digest": kept["digest"]}
    producer = first.json["receipt"]["producers"]["logits"]
    assert producer["precision"] == f"int8-{kept['digest'][:12]}"
    assert first.json["inferred"] == 120
    assert len(list(graphs(home))) == 1
    assert command("replay", first.json["receipt_path"], home=home).code == 0


def test_one_more_image_changes_neither_calibration_nor_graph(
    photos: Path, model: Path, home: Path, tmp_path: Path
) -> None:
    held_back = min(photos.iterdir())
    shutil.move(held_back, tmp_path / "later.jpg")
    assert select(photos, model, home=home).json["inferred"] == 119
    before = record(home), [path.stat().st_mtime_ns for path in graphs(home)]
    shutil.move(tmp_path / "later.jpg", held_back)
    assert select(photos, model, home=home).json["inferred"] == 1
    assert (record(home), [path.stat().st_mtime_ns for path in graphs(home)]) == before


def test_the_images_follow_from_their_contents_alone(photos: Path, model: Path, home: Path, tmp_path: Path) -> None:
    assert select(photos, model, home=home).code == 0
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, file in enumerate(sorted(photos.iterdir(), reverse=True)):
        shutil.copy(file, renamed / f"{number:04d}.jpg")
    assert select(renamed, model, home=tmp_path / "other-home").code == 0
    assert record(tmp_path / "other-home")["images"] == record(home)["images"]
    (one,), (other,) = graphs(home), graphs(tmp_path / "other-home")
    assert one.read_bytes() == other.read_bytes()


def test_a_damaged_or_lost_graph_is_made_again_as_it_was(photos: Path, model: Path, home: Path) -> None:
    chosen = select(photos, model, home=home).json["selected"]
    (graph,) = graphs(home)
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    shutil.rmtree(home / "cache" / "predictions")
    assert select(photos, model, home=home).json["selected"] == chosen
    assert graph.read_bytes() == whole
    shutil.rmtree(home / "cache" / "quantised")
    shutil.rmtree(home / "cache" / "predictions")
    assert select(photos, model, home=home).json["selected"] == chosen
    assert graph.read_bytes() == whole


def test_whole_numbers_that_rank_otherwise_are_refused(photos: Path, model: Path, home: Path) -> None:
    strict = f"{INT8}:correlation=1,overlap=1"
    refused = command("select", photos, "--model", model, "--budget", 10, "--engine", strict, "--batch", 8, home=home)
    assert refused.code == 1
    assert "openvino-int8 ranks 120 images of the pool otherwise than torch-f32 does" in refused.complaint


class Paced:
    """An engine of a known pace whose logits follow from the first pixel of an image."""

    name, precision, version = "paced", "any", "1"

    def __init__(self, seconds: float, sign: float) -> None:
        self._seconds, self._sign = seconds, sign

    def __call__(self, batch: Pixels) -> Outputs:
        time.sleep(self._seconds)  # how long a call takes is what is measured
        level = self._sign * batch[:, 0, 0, :1].astype(np.float32) / 50
        return Outputs(np.concatenate([level, np.zeros_like(level)], axis=1), level)


DIGESTS = np.array([f"{row:040x}" for row in range(300)])


def drawn(asked: np.ndarray, count: int) -> tuple[np.ndarray, Pixels]:
    """The images themselves: their first pixel follows from their digest."""
    pixels = np.zeros((len(asked[:count]), 4, 4, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = [int(one, 16) % 256 for one in asked[:count]]
    return asked[:count], pixels


def automatic(
    folder: Path,
    sign: float,
    monkeypatch: pytest.MonkeyPatch,
    int8: Callable[[], object] = bool,
    *,
    worth_s: float = 0.0,
    left_out: tuple[str, ...] = (),
) -> engine_choice.Choice:
    """What ``auto`` takes among the reference, a slower one, and whole numbers three times as fast."""
    pace = {REFERENCE: 0.03, "openvino-f32": 0.04, INT8: 0.01}
    monkeypatch.setattr(engine_choice, "available", lambda: [REFERENCE, "openvino-f32", INT8])
    monkeypatch.setattr(engine_choice, "SMALL_JOB_S", 0.0)
    monkeypatch.setattr(engine_choice, "INT8_JOB_S", worth_s)
    monkeypatch.setattr(engine_choice, "_native_bf16", lambda: False)

    def make(name: str, _batch: int) -> Paced:
        if name == INT8:
            int8()
        return Paced(pace[name], sign if name == INT8 else 1.0)

    bench = Bench(
        record=folder / "choice.npz",
        size=4,
        digests=DIGESTS,
        missing=lambda _engine, _batch: DIGESTS,
        sample=drawn,
        make=make,
        logits_of=lambda outputs: outputs.logits,
        identity=lambda name: (name, "any"),
        left_out=left_out,
    )
    return choose_engine("auto", bench, score=ScoreInUse())


def test_auto_takes_whole_numbers_where_they_rank_as_the_reference_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = automatic(tmp_path, 1.0, monkeypatch)
    assert choice.engine == INT8
    assert choice.checks[INT8].passed


def test_auto_leaves_them_where_they_do_not_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = automatic(tmp_path, 0.0, monkeypatch)
    assert choice.engine == REFERENCE
    assert not choice.checks[INT8].passed
    assert choice.reason == "no faster engine ranks like the reference"


def test_an_image_that_left_the_pool_puts_whole_numbers_out_of_play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Int8(workspace=Workspace.open(tmp_path), place="p", key=("k",), digests=DIGESTS, draw=drawn, size=4)
    first = whole.calibration().images[0]
    fewer = replace(whole, draw=lambda asked, count: drawn(asked[asked != first], count))
    graph = partial(fewer.graph, nn.Identity())
    with pytest.raises(ModelError, match=r"1 of the 256 images .* are no longer in the pool.*calibration\.json"):
        graph()
    assert automatic(tmp_path, 1.0, monkeypatch, graph).engine == REFERENCE


def test_two_at_once_make_one_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def write(_network: nn.Module, _pixels: Pixels, *, size: int, path: Path) -> None:
        assert size == 4
        made.append(path)
        time.sleep(0.3)  # the other one comes meanwhile
        path.write_bytes(b"graph")
        path.with_suffix(".bin").write_bytes(b"weights")

    installed_library("openvino", extra="openvino")
    monkeypatch.setattr("foresift.engines.openvino_int8.write_int8", write)
    whole = Int8(workspace=Workspace.open(tmp_path), place="p", key=("k",), digests=DIGESTS, draw=drawn, size=4)
    with ThreadPoolExecutor(2) as both:
        paths = list(both.map(whole.graph, [nn.Identity(), nn.Identity()]))
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == b"graph"
    assert len(made) == 1


def never() -> None:
    pytest.fail("nothing was to be calibrated")


def test_auto_calibrates_only_where_the_job_is_many_times_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine_choice.INT8_JOB_S >= 5 * 100  # about 100 s were measured for one calibration
    job = 300 / 128 * 0.03  # seconds by the reference
    assert automatic(tmp_path / "short", 1.0, monkeypatch, never, worth_s=10 * job).engine == REFERENCE
    assert automatic(tmp_path / "short", 1.0, monkeypatch, never, worth_s=0.0).engine == REFERENCE  # as remembered
    assert automatic(tmp_path / "long", 1.0, monkeypatch, worth_s=job / 10).engine == INT8


def test_auto_takes_no_whole_numbers_where_a_crew_shares_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert automatic(tmp_path, 1.0, monkeypatch, never, left_out=(INT8,)).engine == REFERENCE
    assert automatic(tmp_path / "alone", 1.0, monkeypatch).engine == INT8
    assert automatic(tmp_path / "alone", 1.0, monkeypatch, never, left_out=(INT8,)).engine == REFERENCE


def test_whole_numbers_that_fail_after_their_trial_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fails_later() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise ModelError("the images are gone")

    assert automatic(tmp_path, 1.0, monkeypatch, fails_later).engine == REFERENCE
    assert len(calls) == 2
