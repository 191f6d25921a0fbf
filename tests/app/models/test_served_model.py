"""A pool ranked by a served model: checked against the reference, in the receipt, refused where it ranks otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import command
from foresift.app.models.opening import Model, open_model
from foresift.app.workspace import Workspace
from foresift.engines.onnx_export import export_scoring
from foresift.models import ScoringModule
from model_servers import TRITON, ModelServer

ADDRESS = "triton://host:8000/m"


@pytest.fixture(scope="module")
def server(generation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    folder = tmp_path_factory.mktemp("served")
    started = ModelServer(TRITON, folder)
    model = open_model(Workspace.open(folder / "home"), generation)
    _export(model, folder / "good.onnx")
    _export(model, folder / "noisy.onnx", noise=0.5)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def _export(model: Model, path: Path, *, noise: float = 0.0) -> None:
    import torch

    network = model.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    transform = model.generation.transform
    export_scoring(ScoringModule(network, transform), size=transform.size, batch=None, path=path)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_selection_by_a_served_model_is_checked_and_says_so(
    server: ModelServer, pool: Path, generation: Path, home: Path, tmp_path: Path, scheme: str
) -> None:
    def chosen(engine: str) -> tuple[list[str], dict[str, object]]:
        out = tmp_path / f"{engine.partition(':')[0]}.jsonl"
        arguments = ["--budget", 8, "--strategy", "entropy", "--out", out]
        answer = command("select", pool, "--model", generation, "--engine", engine, *arguments, home=home)
        assert answer.code == 0, answer.err
        ids = [json.loads(line)["id"] for line in out.read_text().splitlines()]
        return ids, json.loads(Path(f"{out}.receipt.json").read_text())["engine"]

    address = server.address("good", scheme)
    ids, engine = chosen(address)
    assert ids == chosen("torch")[0]
    check = engine["checks"][engine["engine"]]  # type: ignore[index]
    assert check["passed"]
    assert check["n"] == 60


@pytest.mark.timeout(600)
def test_a_served_model_that_ranks_otherwise_is_refused(
    server: ModelServer, pool: Path, generation: Path, home: Path, tmp_path: Path
) -> None:
    arguments = ["--budget", 8, "--strategy", "entropy", "--out", tmp_path / "no.jsonl"]
    engine = server.address("noisy")
    answer = command("select", pool, "--model", generation, "--engine", engine, *arguments, home=home)
    assert answer.code == 1
    assert "otherwise than torch-f32 does" in answer.err.splitlines()[-1]
    assert not (tmp_path / "no.jsonl").exists()
