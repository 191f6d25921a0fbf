import csv
import importlib.util
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from foresift.core.errors import LabelError, ModelError, UsageError
from foresift.core.generations import Transform
from foresift.models import build
from foresift.models.weights import read
from foresift.training import ArrayImages, Recipe, TrainResult, train
from foresift.training.epochs import uses_bf16

SCRIPT = Path(__file__).with_name("killed_run.py")
TRAIN, TEST = slice(0, 1347), slice(1347, None)


@pytest.fixture(scope="module")
def run() -> Any:
    spec = importlib.util.spec_from_file_location("killed_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of the run that nobody interrupts."""
    return finish(run, tmp_path_factory.mktemp("whole"))[0]


def finish(run: Any, folder: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], TrainResult]:
    net = run.network()
    images, codes = run.data()
    result = train(net, images, codes, **{"recipe": run.RECIPE, "seed": 1, "folder": folder} | changes)
    return {name: value.clone() for name, value in net.state_dict().items()}, result


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("when", ["epoch", "writing"])
def test_killed_without_warning_it_resumes_to_the_same_bits(
    run: Any, whole: dict[str, torch.Tensor], tmp_path: Path, when: str
) -> None:
    threads = str(torch.get_num_threads())
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), when, threads], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stderr == killed.stdout == ""
    for path in tmp_path.glob("*.ckpt"):
        torch.load(path, weights_only=True)  # none is torn
    weights, result = finish(run, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "metrics.csv", "previous.ckpt"]
    assert result.resumed_from == 2
    assert result.epochs == 5
    assert equal(weights, whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def garble(path: Path) -> None:
    path.write_bytes(b"no checkpoint" * 100)


@pytest.mark.parametrize("damage", [cut, garble, Path.unlink])
@pytest.mark.parametrize(("torn", "resumes_at"), [(["last.ckpt"], 4), (["last.ckpt", "previous.ckpt"], 0)])
def test_torn_checkpoints_are_passed_over(
    run: Any,
    whole: dict[str, torch.Tensor],
    tmp_path: Path,
    damage: Callable[[Path], None],
    torn: list[str],
    resumes_at: int,
) -> None:
    finish(run, tmp_path)
    for name in torn:
        damage(tmp_path / name)
    weights, result = finish(run, tmp_path)
    assert result.resumed_from == resumes_at
    assert equal(weights, whole)


def test_a_finished_run_is_not_repeated_and_a_foreign_one_not_continued(
    run: Any, whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    _, first = finish(run, tmp_path)
    weights, again = finish(run, tmp_path)
    assert (again.resumed_from, again.history, again.metrics) == (5, first.history, first.metrics)
    assert equal(weights, whole)
    assert finish(run, tmp_path, resume=False)[1].resumed_from == 0
    assert finish(run, tmp_path, seed=2)[1].resumed_from == 0


def test_a_run_on_other_normalised_images_is_not_continued(run: Any, tmp_path: Path) -> None:
    finish(run, tmp_path)
    images, codes = run.data()
    pixels = images.batch(np.arange(len(images)))
    other = ArrayImages.from_array(pixels, Transform(size=8, mean=(0.5, 0.5, 0.5)))
    assert train(run.network(), other, codes, recipe=run.RECIPE, seed=1, folder=tmp_path).resumed_from == 0


def test_results_depend_on_the_seed_only(run: Any, whole: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.manual_seed(99)
    images, codes = run.data()
    pixels = images.batch(np.arange(len(images)))
    lazy = ArrayImages(lambda row: pixels[row], len(pixels), images.transform, cache_bytes=0)
    net = run.network()
    train(net, lazy, codes, recipe=run.RECIPE, seed=1, folder=tmp_path / "lazy", val=(images, codes))
    assert equal(dict(net.state_dict()), whole)
    assert not equal(finish(run, tmp_path / "other", seed=2)[0], whole)


def test_the_callers_world_is_left_alone(run: Any, tmp_path: Path, capfd: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    net = run.network()
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    interrupt = signal.getsignal(signal.SIGINT)
    images, codes = run.data()
    train(net, images, codes, recipe=Recipe(epochs=1), seed=1, folder=Path("f"))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()
    assert signal.getsignal(signal.SIGINT) is interrupt
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


class Recorder:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, task: str, total: int) -> None:
        self.calls.append((task, total))

    def advance(self, units: int) -> None:
        self.calls.append(units)

    def done(self, summary: str = "") -> None:
        self.calls.append(summary)


def test_progress_metrics_file_and_kept_epochs(run: Any, tmp_path: Path) -> None:
    recorder = Recorder()
    images, codes = run.data()
    recipe = Recipe(epochs=3, checkpoint_every_epoch=True)
    net = run.network()
    result = train(net, images, codes, recipe=recipe, seed=1, folder=tmp_path, val=(images, codes), progress=recorder)
    assert recorder.calls[0] == ("training", 3)
    assert sum(call for call in recorder.calls if isinstance(call, int)) == 3
    assert "val_top1" in recorder.calls[-1]
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [row["val_loss"] for row in result.history]
    assert set(result.metrics) == {"train_loss", "train_top1", "val_loss", "val_top1"}
    kept = sorted(p.name for p in tmp_path.glob("epoch-*"))
    assert kept == [f"epoch-000{epoch}.safetensors" for epoch in range(3)]
    assert equal(read(tmp_path / kept[-1]), dict(net.state_dict()))
    assert not equal(read(tmp_path / kept[0]), dict(net.state_dict()))


def test_a_resumed_metrics_file_holds_every_epoch(run: Any, tmp_path: Path) -> None:
    finish(run, tmp_path)
    whole_file = (tmp_path / "metrics.csv").read_text()
    (tmp_path / "last.ckpt").unlink()
    finish(run, tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == whole_file


@pytest.mark.parametrize(
    ("name", "recipe", "floor"),
    [
        ("linear", Recipe(epochs=4), 0.85),
        ("mlp:32", Recipe(epochs=4, optimizer="adamw", lr=5e-3, schedule="onecycle"), 0.85),
        ("cnn:8", Recipe(epochs=4, augment="shift"), 0.9),
        ("cnn:8", Recipe(epochs=6, precision="bf16", label_smoothing=0.1, schedule="multistep"), 0.9),
    ],
)
def test_digits_are_learned(digits: Any, tmp_path: Path, name: str, recipe: Recipe, floor: float) -> None:
    net = build(name, classes=10, image_size=8, seed=0)
    val = digits.images(TEST), digits.codes[TEST]
    result = train(net, digits.images(TRAIN), digits.codes[TRAIN], recipe=recipe, seed=0, folder=tmp_path, val=val)
    assert result.metrics["val_top1"] > floor
    assert not net.training


@pytest.mark.parametrize("count", [1, 2, 3, 65])
def test_few_images_and_a_last_batch_of_one(count: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    images = ArrayImages.from_array(pixels, Transform(size=8))
    net = build("resnet8", classes=3, image_size=8, seed=0)
    result = train(net, images, np.arange(count) % 2, recipe=Recipe(epochs=1), seed=0, folder=tmp_path)
    assert "no sample to learn from" in result.notes[0]
    assert np.isfinite(result.metrics["train_loss"])


def test_a_batch_norm_over_single_values_survives_one_image(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    images = ArrayImages.from_array(np.zeros((1, 8, 8, 3), np.uint8), Transform(size=8))
    train(net, images, np.array([1]), recipe=Recipe(epochs=1), seed=0, folder=tmp_path)


def test_a_loss_that_is_not_finite_names_the_epoch_and_the_rate(digits: Any, tmp_path: Path) -> None:
    net = build("cnn:4", classes=10, image_size=8, seed=0)
    with pytest.raises(ModelError, match=r"no longer finite in epoch \d; use a smaller learning rate than lr=1e\+30"):
        train(
            net,
            digits.images(TRAIN),
            digits.codes[TRAIN],
            recipe=Recipe(lr=1e30, schedule="constant"),
            seed=0,
            folder=tmp_path,
        )


def test_bad_input(run: Any, tmp_path: Path) -> None:
    images, codes = run.data()
    with pytest.raises(LabelError, match=r"outside 0 \.\. 2"):
        finish_with(run.network(), images, codes + 1, tmp_path)
    with pytest.raises(UsageError, match="at least 2 classes"):
        finish_with(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), images, codes * 0, tmp_path)
    with pytest.raises(ModelError, match="can't take 8 pixel images"):
        finish_with(build("linear", classes=3, image_size=16), images, codes, tmp_path)
    with pytest.raises(UsageError, match="fit_head"):
        finish_with(run.network(), images, codes, tmp_path, Recipe(train="head"))
    empty = ArrayImages.from_array(np.zeros((0, 8, 8, 3), np.uint8), Transform(size=8))
    with pytest.raises(UsageError, match="no labeled image"):
        finish_with(run.network(), empty, codes[:0], tmp_path)


def finish_with(
    net: nn.Module, images: ArrayImages, codes: np.ndarray, folder: Path, recipe: Recipe | None = None
) -> None:
    train(net, images, codes, recipe=recipe or Recipe(epochs=1), seed=0, folder=folder)


class Impatient(Recorder):
    def advance(self, units: int) -> None:
        if units:
            raise KeyboardInterrupt


def test_ctrl_c_stays_a_keyboard_interrupt(run: Any, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        finish(run, tmp_path, progress=Impatient())
    assert signal.getsignal(signal.SIGINT) is handler


def test_bf16_is_chosen_where_it_was_measured_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    wanted = {"resnet20": True, "cnn:8": False, "mobilenetv3_small_100": False, "mlp:64": False}
    for name, faster in wanted.items():
        net = build(name, classes=10, image_size=32)
        assert uses_bf16(net, "auto", cuda=False) is faster
        assert uses_bf16(net, "bf16", cuda=False)
        assert not uses_bf16(net, "32", cuda=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not uses_bf16(build("resnet20", classes=10, image_size=32), "auto", cuda=False)
