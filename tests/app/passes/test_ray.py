"""A pass on a Ray cluster: the rows of this process alone, to the bit, and none lost with a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foresift.app.models.opening import open_model
from foresift.app.models.served_model import served_model
from foresift.app.passes import sharing
from foresift.app.passes.crews import crew_on
from foresift.app.passes.predicting import Predicted, predict
from foresift.app.passes.speaking import hear
from foresift.app.passes.stored import PassOptions
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.executors import Crew
from images import png
from ray_cluster import cluster
from replicas import worker_pids

pytestmark = pytest.mark.timeout(240)
IMAGES = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(IMAGES):
        (path / f"{number:03d}.png").write_bytes(png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    (path / "broken.png").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def two() -> Iterator[Crew]:
    with cluster(), crew_on("auto") as crew:
        assert crew is not None
        yield crew


def opened(home: Path, model: str = "mlp:8") -> tuple[Workspace, Path]:
    workspace = Workspace.open(home)
    return workspace, served_model(workspace, model, "random", base=home, image_size=16, classes=("a", "b", "c"))


def seen(pool: Path, home: Path, crew: Crew | None, *, model: str = "mlp:8") -> Predicted:
    workspace, scored_by = opened(home, model)
    return predict(workspace, pool, scored_by, options=PassOptions(engine="torch-f32", batch=8, crew=crew))


def same(first: Predicted, second: Predicted) -> bool:
    a, b = first.result.predictions, second.result.predictions
    return (
        a.sample_ids.tolist() == b.sample_ids.tolist() and a.column("logits").tobytes() == b.column("logits").tobytes()
    )


@pytest.mark.parametrize("model", ["mlp:8", "resnet8"])
def test_ids_and_bytes_are_those_without_a_cluster(folder: Path, tmp_path: Path, two: Crew, model: str) -> None:
    alone, shared = (seen(folder, tmp_path / name, crew, model=model) for name, crew in (("a", None), ("b", two)))
    assert same(alone, shared)
    assert shared.result.report.inferred == IMAGES
    assert shared.result.quarantined == alone.result.quarantined


def test_an_ensemble_on_a_cluster_has_the_state_of_one_process(folder: Path, tmp_path: Path, two: Crew) -> None:
    states = []
    for name, crew in (("a", None), ("b", two)):
        workspace, first = opened(tmp_path / name)
        models = [open_model(workspace, one) for one in (first, opened(tmp_path / name, "mlp:4")[1])]
        options = PassOptions(engine="torch-f32", batch=8, crew=crew)
        heard = hear(workspace, open_pool(workspace, folder), models, tmp_path / name / "state.npz", options=options)
        states.append(heard.spoken.state.tobytes())
    assert states[0] == states[1]


def test_a_worker_killed_in_the_middle_loses_no_row(
    folder: Path, tmp_path: Path, two: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, killed = sharing._keep, []

    def and_kill(*given: object) -> None:
        keep(*given)  # type: ignore[arg-type]
        if len(killed) < 2:
            killed.append(next(pid for pid in worker_pids("ray::_Actor") if pid not in killed))
            os.kill(killed[-1], signal.SIGKILL)

    monkeypatch.setattr(sharing, "_keep", and_kill)
    alone, shared = seen(folder, tmp_path / "alone", None), seen(folder, tmp_path / "shared", two)
    assert same(alone, shared)
    assert shared.result.report.inferred == IMAGES
    assert len(killed) == 2


def test_the_command_works_with_a_cluster_of_its_own(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    workspace, model = opened(tmp_path / "home")
    arguments = ["predict", str(folder), "--model", str(model), "--batch", "8", "--engine", "torch", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "foresift.cli", *arguments, "--home", str(workspace.home), "--ray", "local"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert json.loads(done.stdout)["inferred"] == IMAGES
    assert same(seen(folder, tmp_path / "home", None), seen(folder, tmp_path / "alone", None))
