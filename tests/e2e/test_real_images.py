"""Real photographs through the installed command: broken files, kills, two processes at once."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import lance
import pytest

from commands import Answer, command, start
from foresift.core.generations import Transform
from foresift.inference.pipeline import SHARD_ROWS
from foresift.models import build, save_generation
from foresift.sources.read import printable
from images import BROKEN

pytestmark = [pytest.mark.data, pytest.mark.timeout(600)]
N = 3000


@pytest.fixture(scope="module")
def untrained(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-8 as it is born: slow enough to be killed in the middle, and nobody asks how good it is."""
    folder = tmp_path_factory.mktemp("model") / "resnet8"
    classes = sorted(path.name for path in cifar.iterdir())
    network = build("resnet8", classes=10, image_size=32, seed=0)
    save_generation(folder, network, architecture="resnet8", classes=classes, transform=Transform(size=32))
    return folder


def predict(pool: Path, model: Path, home: Path, out: Path) -> subprocess.Popen[str]:
    # Engine and batch size are named: two workspaces may well measure differently.
    options = ("--engine", "torch-f32", "--batch", 64, "--out", out, "--json")
    # One thread: two that wait for each other stand still on a machine that has other work.
    return start("predict", pool, "--model", model, *options, home=home, variables={"OMP_NUM_THREADS": "1"})


def answer(running: subprocess.Popen[str]) -> Answer:
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    return Answer(running.returncode, out, err)


def rows_stored(home: Path) -> int:
    """Rows, duplicates included."""
    return sum(lance.dataset(path).count_rows() for path in (home / "cache" / "predictions").glob("*.lance"))


@pytest.fixture(scope="module")
def uninterrupted(cifar: Path, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """The predictions of all images, and the seconds they took."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    began = time.monotonic()
    told = answer(predict(cifar, untrained, folder / "home", folder / "out.parquet")).json
    assert told["inferred"] == N
    return (folder / "out.parquet").read_bytes(), time.monotonic() - began


def test_kill_9_at_ten_moments_leaves_the_same_bytes(
    cifar: Path, untrained: Path, uninterrupted: tuple[bytes, float], tmp_path: Path
) -> None:
    expected, whole_s = uninterrupted
    moments = random.Random(7)
    kills, workspaces = 0, 0
    while kills < 10:
        workspaces += 1
        home, out = tmp_path / str(workspaces), tmp_path / f"{workspaces}.parquet"
        while True:
            stored = rows_stored(home)
            assert stored % SHARD_ROWS in (0, N % SHARD_ROWS)
            running = predict(cifar, untrained, home, out)
            try:
                if kills < 10:
                    running.wait(moments.uniform(0.4, 1) * whole_s)
            except subprocess.TimeoutExpired:
                running.kill()
                running.communicate()
                kills += 1
                assert not out.exists() or out.read_bytes() == expected
                continue
            told = answer(running).json
            break
        assert told["inferred"] == N - stored  # nothing that was stored is inferred again
        assert rows_stored(home) == N
        assert out.read_bytes() == expected


def test_two_processes_at_once_give_the_same_bytes(
    cifar: Path, untrained: Path, uninterrupted: tuple[bytes, float], tmp_path: Path
) -> None:
    outs = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    both = [predict(cifar, untrained, tmp_path / "home", out) for out in outs]
    told = [answer(running).json for running in both]
    assert sum(one["inferred"] for one in told) == N == rows_stored(tmp_path / "home")
    assert [out.read_bytes() == uninterrupted[0] for out in outs] == [True, True]


def test_every_kind_of_broken_file_is_reported_and_the_good_ones_are_ranked(
    cifar: Path, untrained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    good = {str(folder / f"{name}.jpg") for name in sorted(path.name for path in cifar.iterdir())}
    for uri in good:
        shutil.copy(cifar / Path(uri).stem / "0000.jpg", uri)
    broken = {printable(os.fspath(make(folder))) for make in BROKEN.values()}
    assert len(broken) >= 30
    line = ("select", folder, "--model", untrained, "--budget", len(good), "--json")
    told = command(*line, home=tmp_path / "home").json
    assert {one["uri"] for one in told["quarantined"]} == broken
    assert all(one["reason"].strip() for one in told["quarantined"])
    assert {row["uri"] for row in told["selected"]} == good
    again = command(*line, home=tmp_path / "home").json
    assert again["inferred"] == 0
    assert again["quarantined"] == told["quarantined"]
    assert again["selected"] == told["selected"]


def test_train_select_replay_evaluate(cifar: Path, tmp_path: Path) -> None:
    def told(*args: object) -> dict[str, object]:
        answer = command(*args, "--json", home=tmp_path / "home")
        assert answer.code == 0, answer.err
        value: dict[str, object] = answer.json
        return value

    labeled, pool = tmp_path / "labeled", tmp_path / "pool"
    for name in sorted(path.name for path in cifar.iterdir()):
        for target, part in ((labeled, slice(0, 40)), (pool, slice(40, 140))):
            (target / name).mkdir(parents=True)
            for file in sorted((cifar / name).iterdir())[part]:
                shutil.copy(file, target / name)
    told("train", labeled, "--model", "resnet8", "--out", tmp_path / "gen", "--epochs", 2)
    chosen = tmp_path / "chosen.csv"
    first = told("select", pool, "--model", tmp_path / "gen", "--strategy", "margin", "--budget", 100, "--out", chosen)
    again = told("replay", chosen)
    rows = first["selected"]
    assert isinstance(rows, list)
    assert again["ids"] == [row["id"] for row in rows]
    measured = told("evaluate", pool, "--model", tmp_path / "gen")
    assert measured["n"] == 1000
    top1 = measured["top1"]
    assert isinstance(top1, float)
    assert 0.12 < top1 < 0.9  # better than chance by six standard errors, hence no labels mixed up
