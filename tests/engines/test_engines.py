"""Engines: other ways to compute the same network."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

from foresift.core.errors import MissingExtraError, UnknownNameError
from foresift.core.generations import Transform
from foresift.engines import ENGINES, INT8, REFERENCE, available, canonical, engine_identity, make_engine
from foresift.engines.threads import threads
from foresift.models import ScoringModule, build
from foresift.models.embedding import embedding_width

pytestmark = pytest.mark.timeout(120)
SIZE, BATCH, CLASSES = 16, 6, 7
FLOATS = [name for name in ENGINES if name != INT8]
"""Whole numbers are calibrated first: tests/engines/test_openvino_int8.py."""
EPS_F32, EPS_BF16 = 2.0**-24, 2.0**-9
"""Half a unit in the last place: the largest relative error of one rounding."""


@pytest.fixture(scope="module")
def network() -> ScoringModule:
    """Convolutions, normalisation with real statistics, a residual sum and a linear head."""
    network = build("resnet8", classes=CLASSES, image_size=SIZE, seed=0).train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(16, 3, SIZE, SIZE))
    return ScoringModule(network.eval(), Transform(size=SIZE))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)


def exact(network: ScoringModule, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings in float64, normalised as the definition says."""
    import copy

    mean, std = np.array(network.transform.mean), np.array(network.transform.std)
    images = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2))
    with torch.no_grad():
        logits, embeddings = copy.deepcopy(network.model).double()(images)
    return logits.numpy(), embeddings.numpy()


@pytest.mark.parametrize("name", FLOATS)
def test_every_engine_computes_the_network(name: str, network: ScoringModule, pixels: np.ndarray) -> None:
    """Within the error that roundings add up to over a net of about 20 roundings a path.

    Each layer rounds its inputs, weights and outputs; independent roundings grow with their
    square root, so a handful of half units relative to the largest output is expected
    (``16 eps``), and a wrong layout, mean or scale is a thousand times that.
    """
    outputs = make_engine(name, network, size=SIZE, batch=BATCH)(pixels)
    eps = EPS_BF16 if name.endswith("bf16") else EPS_F32
    for got, expected in zip(outputs, exact(network, pixels), strict=True):
        assert got.dtype == np.float32
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 16 * eps * np.abs(expected).max()
    assert outputs.embeddings.shape == (BATCH, embedding_width(network.model.network))


@pytest.mark.parametrize("name", FLOATS)
def test_rows_do_not_see_each_other(name: str, network: ScoringModule, pixels: np.ndarray) -> None:
    engine = make_engine(name, network, size=SIZE, batch=BATCH)
    whole = engine(pixels)
    padded = pixels.copy()
    padded[4:] = 0
    for got, expected in zip(engine(padded), whole, strict=True):
        np.testing.assert_array_equal(got[:4], expected[:4])


@pytest.mark.parametrize("name", FLOATS)
def test_outputs_are_the_callers_own(name: str, network: ScoringModule, pixels: np.ndarray) -> None:
    engine = make_engine(name, network, size=SIZE, batch=BATCH)
    first = engine(pixels)
    kept = first.logits.copy()
    engine(pixels[::-1].copy())
    np.testing.assert_array_equal(first.logits, kept)
    first.logits[:] = 0  # may be written to
    np.testing.assert_array_equal(engine(pixels).logits, kept)


@pytest.mark.parametrize("name", FLOATS)
def test_the_callers_network_stays_as_it_was(name: str, pixels: np.ndarray) -> None:
    network = ScoringModule(build("resnet8", classes=CLASSES, image_size=SIZE, seed=0), Transform(size=SIZE)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    make_engine(name, network, size=SIZE, batch=BATCH)(pixels)
    assert network.training
    for key, value in network.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_an_engine_whose_library_is_missing_names_the_extra(
    network: ScoringModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    gone = ("onnxscript", "openvino", "nncf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else found(name))
    assert available() == ["torch-f32", "torch-bf16"]
    for name in ("onnx-f32", "openvino-f32"):
        with pytest.raises(MissingExtraError, match=name.split("-")[0]):
            make_engine(name, network, size=SIZE, batch=BATCH)


@pytest.mark.parametrize(
    ("granted", "count"), [("3", 3), ("1", 1), ("0", 1), ("", os.cpu_count()), ("many", os.cpu_count())]
)
def test_threads_are_those_granted_else_one_a_core(granted: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", granted)
    assert threads() == count


@pytest.mark.parametrize("name", ["openvino-f32", "onnx-f32"])
def test_an_engine_takes_the_threads_that_it_is_granted_and_gives_the_same(
    name: str, network: ScoringModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    whole = make_engine(name, network, size=SIZE, batch=8)(pixels)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine: Any = make_engine(name, network, size=SIZE, batch=8)
    taken = (
        engine.session.get_session_options().intra_op_num_threads
        if name.startswith("onnx")
        else engine._requests[0].get_compiled_model().get_property("INFERENCE_NUM_THREADS")
    )
    assert taken == 1
    for got, expected in zip(engine(pixels), whole, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_an_openvino_graph_takes_its_own_batch_size_only(network: ScoringModule, pixels: np.ndarray) -> None:
    engine = make_engine("openvino-f32", network, size=SIZE, batch=BATCH)
    with pytest.raises(ValueError, match="batches of"):
        engine(pixels[:3])
    assert len(engine(pixels).logits) == BATCH


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("torch", "torch-f32"),
        ("openvino", "openvino-f32"),
        ("onnx", "onnx-f32"),
        ("auto", "auto"),
        *((name, name) for name in ENGINES),
    ],
)
def test_names_have_one_spelling(name: str, full: str) -> None:
    assert canonical(name) == full


@pytest.mark.parametrize(
    ("name", "near"), [("openvno", "openvino-f32"), ("torch-bf61", "torch-bf16"), ("Auto", "auto")]
)
def test_an_unknown_engine_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{near}'"):
        canonical(name)


def test_an_engine_says_who_it_is_before_and_after_it_is_made(network: ScoringModule) -> None:
    assert available()[0] == REFERENCE
    for name in FLOATS:
        engine = make_engine(name, network, size=SIZE, batch=BATCH)
        library, precision = engine_identity(name)
        assert library.startswith(f"{engine.name}-{engine.version.split('-')[0]}")
        assert precision == engine.precision
    assert len({engine_identity(name) for name in FLOATS}) == len(FLOATS)
