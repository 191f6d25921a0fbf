"""A network in whole numbers of 8 bits: near the network on real images, the same every time, silent."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, MissingExtraError, UsageError
from foresift.core.generations import Transform
from foresift.engines import INT8, available, engine_identity, make_engine
from foresift.inference.rank_check import spearman
from foresift.inference.transform import load
from foresift.models import ScoringModule, build
from images import unpacked
from installed import installed_library

pytestmark = pytest.mark.timeout(300)
SIZE, BATCH = 32, 8


@pytest.fixture(scope="module")
def pixels(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    """80 test images of CIFAR-10."""
    folder = unpacked(data, tmp_path_factory.mktemp("cifar"), per_class=8)
    return np.stack([load(file.read_bytes(), Transform(size=SIZE)) for file in sorted(folder.rglob("*.jpg"))])


@pytest.fixture(scope="module")
def network(pixels: Pixels) -> ScoringModule:
    """A small residual network whose normalisation has seen the images; not to be changed."""
    scoring = ScoringModule(build("resnet8", classes=10, image_size=SIZE, seed=0), Transform(size=SIZE)).train()
    with torch.no_grad():
        for _ in range(10):
            scoring(torch.from_numpy(pixels))
    return scoring.eval()


@pytest.fixture(scope="module")
def graph(network: ScoringModule, pixels: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network calibrated on the first half of the images."""
    installed_library("nncf", extra="int8")
    from foresift.engines.openvino_int8 import write_int8

    path = tmp_path_factory.mktemp("int8") / "graph.xml"
    write_int8(network, pixels[:40], size=SIZE, path=path)
    return path


def run(name: str, network: ScoringModule, pixels: Pixels, graph: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    engine = make_engine(name, network, size=SIZE, batch=BATCH, graph=None if graph is None else lambda _: graph)
    parts = [engine(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def test_whole_numbers_give_nearly_what_the_network_gives_on_other_images(
    network: ScoringModule, pixels: Pixels, graph: Path
) -> None:
    exact, got = run("torch-f32", network, pixels[40:]), run(INT8, network, pixels[40:], graph)
    for expected, values in zip(exact, got, strict=True):
        assert values.dtype == np.float32
        assert values.shape == expected.shape
        error = np.abs(values - expected)
        assert error.max() <= 0.15 * np.abs(expected).max()
        assert error.max() > 1e-4 * np.abs(expected).max()  # else nothing was quantised
        assert spearman(expected.ravel(), values.ravel()) > 0.98


def test_the_graph_holds_steps_of_at_most_256_levels(graph: Path) -> None:
    import openvino as ov

    steps = [node for node in ov.Core().read_model(graph).get_ops() if node.get_type_name() == "FakeQuantize"]
    assert len(steps) >= 8
    assert {node.get_attributes()["levels"] for node in steps} <= {255, 256}


def test_the_same_images_give_the_same_numbers_and_others_others(
    network: ScoringModule, pixels: Pixels, graph: Path, tmp_path: Path
) -> None:
    from foresift.engines.openvino_int8 import write_int8

    write_int8(network, pixels[:40], size=SIZE, path=tmp_path / "again.xml")
    for one, other in zip(*(run(INT8, network, pixels, path) for path in (graph, tmp_path / "again.xml")), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "again.bin").read_bytes() == graph.with_suffix(".bin").read_bytes()
    write_int8(network, pixels[40:60] // 4, size=SIZE, path=tmp_path / "other.xml")
    assert (tmp_path / "other.bin").read_bytes() != graph.with_suffix(".bin").read_bytes()


def test_the_callers_network_stays_as_it_was(pixels: Pixels, tmp_path: Path) -> None:
    installed_library("nncf", extra="int8")
    from foresift.engines.openvino_int8 import write_int8

    network = ScoringModule(build("resnet8", classes=3, image_size=SIZE, seed=0), Transform(size=SIZE)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    write_int8(network, pixels[:4], size=SIZE, path=tmp_path / "graph.xml")
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_its_identity_names_both_libraries() -> None:
    installed_library("nncf", extra="int8")
    library, precision = engine_identity(INT8)
    assert library.startswith("openvino-")
    assert "+nncf-" in library
    assert precision == "int8"


def test_no_images_and_no_graph_are_refused(network: ScoringModule, pixels: Pixels, tmp_path: Path) -> None:
    installed_library("nncf", extra="int8")
    from foresift.engines.openvino_int8 import write_int8

    with pytest.raises(DataError, match="not one image to calibrate on"):
        write_int8(network, pixels[:0], size=SIZE, path=tmp_path / "graph.xml")
    with pytest.raises(UsageError, match="calibrated on the images of a pool"):
        make_engine(INT8, network, size=SIZE, batch=BATCH)


def test_without_the_quantiser_the_extra_is_named(network: ScoringModule, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else found(name))
    assert INT8 not in available()
    assert "openvino-f32" in available()
    for ask in (lambda: make_engine(INT8, network, size=SIZE, batch=BATCH), lambda: engine_identity(INT8)):
        with pytest.raises(MissingExtraError, match=r"foresift\[int8\]"):
            ask()


QUIET = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith("socket.") or event == "os.fork" else None)
import numpy as np, torch
from pathlib import Path
from foresift.core.generations import Transform
from foresift.engines.openvino_int8 import write_int8
from foresift.models import ScoringModule, build
network = ScoringModule(build("cnn:4", classes=3, image_size=16, seed=0), Transform(size=16))
seen.clear()
pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
write_int8(network, pixels, size=16, path=Path(sys.argv[1]))
print("telemetry", sys.modules.get("openvino_telemetry"), seen)
"""


@pytest.mark.timeout(700)
def test_nothing_is_reported_to_anybody_and_nothing_is_printed(tmp_path: Path) -> None:
    installed_library("nncf", extra="int8")
    program = [sys.executable, "-c", QUIET, str(tmp_path / "graph.xml")]
    told = subprocess.run(program, capture_output=True, text=True, check=True, timeout=600)
    assert told.stdout == "telemetry None []\n"
    assert told.stderr == ""


def test_others_go_on_logging_while_it_is_silent() -> None:
    installed_library("nncf", extra="int8")
    from foresift.engines.openvino_int8 import _silence

    names = ("server.requests", "torch.utils", "nncf", "openvino.tools")
    loggers = [logging.getLogger(name) for name in names]
    loggers[0].setLevel(logging.INFO)
    levels = {name: logging.getLogger(name).level for name in ("torch", "nncf", "openvino")}
    with _silence():
        assert [one.isEnabledFor(logging.WARNING) for one in loggers] == [True, False, False, False]
        assert loggers[0].isEnabledFor(logging.INFO)
    assert {name: logging.getLogger(name).level for name in levels} == levels
