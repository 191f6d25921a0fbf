"""Served models: a real Triton and a real MLServer over both protocols, and servers that serve something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foresift.core.errors import ModelError, UsageError
from foresift.core.generations import Transform
from foresift.engines import canonical, engine_identity, make_engine
from foresift.engines.kserve import KServeEngine, parse_address
from foresift.engines.kserve_protocol import Metadata, Tensor
from foresift.engines.onnx_export import export_scoring
from foresift.models import ScoringModule, build
from model_servers import MLSERVER, TRITON, ModelServer, free_ports

pytestmark = pytest.mark.timeout(600)
SIZE, BATCH, CLASSES = 16, 6, 5


def scoring(classes: int, *, size: int = SIZE) -> ScoringModule:
    return ScoringModule(build("cnn:4", classes=classes, image_size=size, seed=0), Transform(size=size))


@pytest.fixture(scope="module")
def network() -> ScoringModule:
    return scoring(CLASSES)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[TRITON, MLSERVER])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    folder = tmp_path_factory.mktemp("served")
    started = ModelServer(request.param, folder)
    export_scoring(scoring(CLASSES), size=SIZE, batch=None, path=folder / "good.onnx")
    export_scoring(scoring(CLASSES + 2), size=SIZE, batch=None, path=folder / "seven.onnx")
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_served_model_answers_as_the_network_does(
    server: ModelServer, network: ScoringModule, pixels: np.ndarray, scheme: str
) -> None:
    engine = make_engine(server.address("good", scheme), network, size=SIZE, batch=BATCH)
    expected = make_engine("torch", network, size=SIZE, batch=BATCH)(pixels)
    for got, known in zip(engine(pixels), expected, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, known, atol=1e-5)
        got[:] = 0  # the caller's own
    assert engine.version.split()[0] in ("triton", "mlserver")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_model_of_other_classes_is_refused(
    server: ModelServer, network: ScoringModule, pixels: np.ndarray, scheme: str
) -> None:
    with pytest.raises(ModelError, match=r"does not serve this generation: .*logits.*7\), expected .*\(6, 5\)"):
        make_engine(server.address("seven", scheme), network, size=SIZE, batch=BATCH)(pixels)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_model_that_the_server_lacks_is_named(server: ModelServer, network: ScoringModule, scheme: str) -> None:
    with pytest.raises(ModelError, match=r"/absent: the server refuses: .*absent"):
        make_engine(server.address("absent", scheme), network, size=SIZE, batch=BATCH)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_images_of_another_size_are_refused(server: ModelServer, scheme: str) -> None:
    large = scoring(CLASSES, size=24)
    images = np.zeros((BATCH, 24, 24, 3), dtype=np.uint8)
    with pytest.raises(ModelError, match=r"expected UINT8 \(6, 24, 24, 3\)|the server refuses"):
        make_engine(server.address("good", scheme), large, size=24, batch=BATCH)(images)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there_is_one_line(network: ScoringModule, scheme: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ModelError, match=r"no answer \(.+\); start the server") as caught:
        make_engine(f"triton+{scheme}://127.0.0.1:{port}/good", network, size=SIZE, batch=BATCH)
    assert "\n" not in str(caught.value)


class Served:
    """A server that describes itself as it is told to and answers with what it is given."""

    def __init__(self, told: Metadata, outputs: Mapping[str, Any]) -> None:
        self._told, self._outputs = told, outputs

    def version(self) -> str:
        return "served 1"

    def metadata(self) -> Metadata:
        return self._told

    def infer(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        return self._outputs


PIXELS_IN = Tensor("pixels", "UINT8", (-1, SIZE, SIZE, 3))
LOGITS_OUT = Tensor("logits", "FP32", (-1, 5))
TOLD = Metadata((PIXELS_IN,), (LOGITS_OUT, Tensor("embeddings", "FP32", (-1, 4))))
ANSWER = {"logits": np.ones((6, 5)), "embeddings": np.ones((6, 4), dtype=np.float16)}


def engine_of(told: Metadata, answer: Mapping[str, Any] = ANSWER) -> KServeEngine:
    address = parse_address("triton://host:8000/m")
    return KServeEngine(address, Served(told, answer), size=SIZE, batch=BATCH, widths=(5, 4))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (replace(TOLD, inputs=(replace(PIXELS_IN, name="x"),)), "takes x, expected pixels alone"),
        (replace(TOLD, inputs=(PIXELS_IN, replace(PIXELS_IN, name="x"))), "takes pixels, x, expected pixels alone"),
        (replace(TOLD, inputs=(replace(PIXELS_IN, datatype="FP32"),)), "pixels as FP32"),
        (replace(TOLD, inputs=(replace(PIXELS_IN, shape=(-1, 3, SIZE, SIZE)),)), "expected UINT8"),
        (replace(TOLD, outputs=(LOGITS_OUT,)), "gives logits, expected embeddings"),
        (replace(TOLD, outputs=(replace(LOGITS_OUT, shape=(-1, 10)), TOLD.outputs[1])), "logits as FP32"),
        (replace(TOLD, outputs=(replace(LOGITS_OUT, datatype="INT64"), TOLD.outputs[1])), "logits as INT64"),
    ],
)
def test_a_model_that_describes_itself_otherwise_is_refused(told: Metadata, reason: str) -> None:
    with pytest.raises(ModelError, match=f"^triton://host:8000/m does not serve this generation: .*{reason}"):
        engine_of(told)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"logits": np.ones((6, 5))}, "gives logits and no embeddings"),
        ({**ANSWER, "logits": np.ones((6, 10))}, r"logits are \(6, 10\), expected \(6, 5\)"),
        ({**ANSWER, "logits": np.ones((5, 5))}, r"logits are \(5, 5\)"),
        ({**ANSWER, "embeddings": np.full((6, 4), np.inf)}, "embeddings of 6 of 6 images are not finite"),
        ({**ANSWER, "logits": np.where(np.eye(6, 5) * [[1, 0, 0, 0, 0]], np.nan, 1)}, "logits of 1 of 6 images"),
    ],
)
def test_an_answer_of_another_shape_or_without_numbers_is_refused(answer: dict[str, Any], reason: str) -> None:
    for told in (TOLD, Metadata((), ())):  # also where the server says nothing of the model
        with pytest.raises(ModelError, match=reason):
            engine_of(told, answer)(np.zeros((BATCH, SIZE, SIZE, 3), dtype=np.uint8))


def test_a_server_that_says_nothing_of_a_model_is_held_to_its_answers() -> None:
    outputs = engine_of(Metadata((), ()))(np.zeros((BATCH, SIZE, SIZE, 3), dtype=np.uint8))
    assert (outputs.logits.dtype, outputs.embeddings.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("triton://host:8000/m", "triton://host:8000/m"),
        ("triton+http://host:8000/m/", "triton://host:8000/m"),
        ("triton+https://host:8000/m/3", "triton+https://host:8000/m/3"),
        ("triton+grpc://[::1]:8001/m", "triton+grpc://[::1]:8001/m"),
    ],
)
def test_an_address_has_one_spelling(given: str, spelled: str) -> None:
    assert canonical(given) == canonical(spelled) == spelled
    assert engine_identity(given) == engine_identity(spelled)


@pytest.mark.parametrize(
    "text",
    [
        "triton://host/m",
        "triton://host:8000",
        "triton://host:8000/",
        "triton://:8000/m",
        "triton://host:port/m",
        "triton://host:99999/m",
        "triton://host:8000/a/b/c",
        "triton://host:8000/m?x=1",
    ],
)
def test_an_address_that_lacks_something_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected an engine such as triton"):
        canonical(text)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="leave user and password out") as caught:
        canonical("triton://me:secret@host:8000/m")
    assert "secret" not in str(caught.value)
