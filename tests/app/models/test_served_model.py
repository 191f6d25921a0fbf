"""A pool ranked by a served model: checked against the reference, in the receipt, refused where it ranks otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from commands import command
from foresift.app.models.engine_choice import Bench, ScoreInUse, choose_engine
from foresift.app.models.opening import Model, open_model
from foresift.app.workspace import Workspace
from foresift.core.arrays import Logits, Pixels
from foresift.core.errors import ModelError
from foresift.core.protocols import Outputs
from foresift.engines import REFERENCE
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


class Fixed:
    """An engine whose logits follow from the first pixel of an image."""

    name, precision, version = "fixed", "f32", "1"

    def __init__(self, asked: list[str], name: str, sign: float) -> None:
        self._asked, self._name, self._sign = asked, name, sign

    def __call__(self, batch: Pixels) -> Outputs:
        self._asked.append(self._name)
        level = self._sign * batch[:, 0, 0, :1].astype(np.float32) / 50
        return Outputs(np.concatenate([level, np.zeros_like(level)], axis=1), level)


class Case:
    """A pool of 100 images, an engine that may rank the wrong way round, and what was asked of whom."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.left, self.slope, self.readable = folder, [], 100, 1.0, 100
        self.digests = np.array([f"{row:040x}" for row in range(100)])

    def choose(self, engine: str = ADDRESS) -> str:
        bench = Bench(
            record=self.folder / "choice.npz",
            size=4,
            digests=self.digests,
            missing=lambda _engine, _batch: self.digests[: self.left],
            sample=self._sample,
            make=lambda name, _batch: Fixed(self.asked, name, 1.0 if name == REFERENCE else self.slope),
            logits_of=_logits,
        )
        self.asked.clear()
        choice = choose_engine(engine, bench, score=ScoreInUse())
        assert choice.checks[engine].passed
        return choice.engine

    def _sample(self, digests: np.ndarray, count: int) -> tuple[np.ndarray, Pixels]:
        kept = digests[:count][: self.readable]
        pixels = np.zeros((len(kept), 4, 4, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0] = [int(one, 16) for one in kept]
        return kept, pixels


def _logits(outputs: Outputs) -> Logits:
    return outputs.logits


def test_a_server_is_asked_again_whenever_something_is_to_be_inferred(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert case.choose() == ADDRESS
    assert {REFERENCE, ADDRESS} <= set(case.asked)
    assert case.choose() == ADDRESS
    assert set(case.asked) == {ADDRESS}  # the reference's logits are kept
    case.left = 0
    assert case.choose() == ADDRESS
    assert case.asked == []
    case.left = 1
    case.slope = 0.0  # another model by now
    with pytest.raises(ModelError, match=r"rank correlation 0\.000, expected 0\.99"):
        case.choose()


def test_a_sample_that_is_gone_is_drawn_afresh(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.choose()
    case.readable = 90
    assert case.choose() == ADDRESS
    assert REFERENCE in case.asked
