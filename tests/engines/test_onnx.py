"""The exported graph: Pillow's resampling to the last bit, the network's own answers, files that changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foresift.core.digests import digest_bytes
from foresift.core.errors import ModelError
from foresift.core.generations import Transform
from foresift.engines.onnx import OnnxEngine
from foresift.engines.onnx_export import export_onnx, resampled
from foresift.inference.transform import apply
from foresift.models import ScoringModule, build

TRANSFORMS = [
    Transform(size=32),
    Transform(size=24, resize="crop"),
    Transform(size=29, resize="crop", interpolation="bicubic", crop_share=0.9),
    Transform(size=50, interpolation="bicubic"),
]
SIZES = [(32, 32), (40, 57), (200, 133), (24, 24), (7, 90), (480, 640), (2, 2)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: f"{t.resize}-{t.interpolation}-{t.size}")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_resampling_in_the_graph_is_pillows_bit_for_bit(transform: Transform, size: tuple[int, int]) -> None:
    pixels = noise(*size)
    ours = resampled(torch.from_numpy(pixels)[None], transform)[0].numpy()
    assert np.array_equal(ours, apply(pixels, transform))


def test_black_and_white_stripes_do_not_overflow() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, np.arange(64) // 8 % 2 == 0] = 255
    transform = Transform(size=40, interpolation="bicubic")  # overshoots
    assert np.array_equal(resampled(torch.from_numpy(stripes)[None], transform)[0].numpy(), apply(stripes, transform))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoringModule, Transform]:
    transform = Transform(size=24, resize="crop")
    scoring = ScoringModule(build("cnn:4", classes=5, image_size=24, seed=0), transform)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(scoring, transform, path)
    return path, scoring, transform


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 40, 57), (2, 130, 90), (1, 5, 4)], ids=str)
def test_onnx_runtime_answers_as_the_network_does(
    exported: tuple[Path, ScoringModule, Transform], shape: tuple[int, ...]
) -> None:
    path, scoring, transform = exported
    engine = OnnxEngine(path, digest=digest_bytes(path.read_bytes()), threads=1)
    pixels = noise(*shape, seed=1)
    with torch.inference_mode():
        logits, embeddings = scoring(torch.from_numpy(np.stack([apply(one, transform) for one in pixels])))
    got = engine(pixels)
    np.testing.assert_allclose(got.logits, logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(got.embeddings, embeddings.numpy(), atol=1e-5)


def test_a_file_that_does_not_match_its_record_is_refused(
    exported: tuple[Path, ScoringModule, Transform], tmp_path: Path
) -> None:
    blob = exported[0].read_bytes()
    torn = tmp_path / "model.onnx"
    for bad in (blob[:-10], blob[:200] + bytes([blob[200] ^ 1]) + blob[201:]):
        torn.write_bytes(bad)
        with pytest.raises(ModelError, match="not the file that its record names"):
            OnnxEngine(torn, digest=digest_bytes(blob))
    with pytest.raises(ModelError, match="no such file"):
        OnnxEngine(tmp_path / "absent.onnx", digest=digest_bytes(blob))
    torn.write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match="can't load it"):
        OnnxEngine(torn, digest=digest_bytes(b"no graph at all"))
