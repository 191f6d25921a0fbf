"""The bench of segmentation models on a few made-up images: scores by their definition, choices, one minute study."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foresift.core.errors import DataError, UnknownNameError, UsageError
from foresift.core.masks import IGNORED, MaskClasses
from foresift.scores.dense import score_map
from foresift.studies.surrogates.analysis import grid
from foresift.studies.surrogates.bench_of import bench_of
from foresift.studies.surrogates.dense import DenseBench, MaskedArrays, image_scores
from foresift.studies.surrogates.presets import PRESETS
from foresift.studies.surrogates.protocol import Lessons
from foresift.studies.surrogates.report import write
from foresift.studies.surrogates.study import run
from foresift.studies.surrogates.tiny_unet import tiny_unet


def made(n: int, seed: int) -> MaskedArrays:
    """Two classes: left is dark, right is bright; a border that does not count."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 16, 24), dtype=np.int16)
    masks[:, :, 12:] = 1
    pixels = (60 + 120 * masks[..., None] + rng.integers(0, 40, size=(n, 16, 24, 3))).astype(np.uint8)
    masks[:, :2] = IGNORED
    return MaskedArrays(pixels=pixels, masks=masks)


@pytest.fixture
def bench() -> DenseBench:
    classes = MaskClasses.numbered(("dark", "bright"))
    return DenseBench(pool=made(20, 0), test=made(6, 1), classes=classes, lessons=Lessons(epochs=30, batch=4, lr=0.01))


def test_scores_are_those_of_the_registered_formulas() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 70, 40)).astype(np.float32)
    codes = rng.integers(-1, 4, size=(3, 70, 40))
    got = {name: values.numpy() for name, values in image_scores(*map(torch.from_numpy, (logits, codes))).items()}
    entropy = score_map("entropy", logits)
    assert got["entropy"] == pytest.approx(entropy.mean(axis=(1, 2)), rel=1e-5)
    assert got["margin"] == pytest.approx(score_map("margin", logits).mean(axis=(1, 2)), rel=1e-4)
    for row in range(3):
        squares = [entropy[row, y : y + 32, x : x + 32].mean() for y in range(0, 70, 32) for x in range(0, 40, 32)]
        assert got["entropy-top4"][row] == pytest.approx(np.sort(squares)[-4:].mean(), rel=1e-5)
        counted = codes[row] != IGNORED
        shifted = logits[row] - logits[row].max(axis=0)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=0))
        own = np.take_along_axis(log_probs, np.maximum(codes[row], 0)[None], axis=0)[0]
        assert got["loss"][row] == pytest.approx(-own[counted].mean(), rel=1e-4)


def test_an_easy_set_is_learned_and_the_rest_is_ranked(bench: DenseBench) -> None:
    rows = np.arange(6)
    taught = bench.teach("tiny-unet:4", rows, seed=0)
    assert taught.quality > 0.9
    again = bench.teach("tiny-unet:4", rows, seed=0)
    for score in bench.scores:
        assert np.array_equal(bench.values(taught, score), bench.values(again, score))
    picked = bench.choose("entropy", taught, rows, budget=3, seed=0)
    left = bench.values(taught, "entropy")[6:]
    assert sorted(picked) == sorted(6 + np.argsort(-left, kind="stable")[:3])


def test_auto_begins_with_typical_images(bench: DenseBench) -> None:
    assert bench.resolve(np.arange(9), seed=0) == "typiclust"
    assert bench.resolve(np.arange(10), seed=0) == "margin"
    for strategy in ("typiclust", "random"):
        picked = bench.choose(strategy, None, np.arange(4), budget=5, seed=1)
        assert len(set(picked.tolist())) == 5
        assert picked.min() >= 4
    with pytest.raises(UnknownNameError, match="strategy for segmentation"):
        bench.needs("badge")


def test_thumbnails_are_means_made_a_few_images_at_a_time() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 180, 240, 3), dtype=np.uint8)
    masks = np.zeros((48, 1, 1), dtype=np.int16)
    pool = MaskedArrays(pixels=pixels, masks=masks)
    large = DenseBench(pool=pool, test=pool, classes=MaskClasses.numbered(("a", "b")), lessons=Lessons())
    tracemalloc.start()
    found = large._thumbnails
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    means = pixels.reshape(48, 18, 10, 24, 10, 3).mean(axis=(2, 4)) / 255
    assert found == pytest.approx(means.reshape(48, -1), abs=1e-6)
    assert peak < pixels.nbytes * 2, "a copy of the whole pool in float32 is 4 times as large"


def test_the_tiny_network_gives_logits_of_any_size() -> None:
    network = tiny_unet("tiny-unet:4", classes=5, seed=0).eval()
    for sides in ((17, 23), (90, 120)):
        assert network(torch.zeros(2, 3, *sides)).shape == (2, 5, *sides)
    with pytest.raises(UsageError, match="width"):
        tiny_unet("tiny-unet:x", classes=5, seed=0)


@pytest.mark.data
def test_camvid_at_a_minute_size(data: Path, tmp_path: Path) -> None:
    (whole,) = PRESETS["camvid"]
    small = replace(
        whole, models=("tiny-unet:4",), strategies=("entropy-top4", "auto"), cycles=2, budget=4, seeds=1, side=48
    )
    study = run(tmp_path, [replace(small, recipe=Lessons(epochs=1, batch=4))], name="camvid", data=data)
    assert study.tables[0].pool == 367
    made_grid = grid(study.tables[0], "entropy-top4")
    assert 0 < made_grid.cells["tiny-unet:4", "tiny-unet:4"].chosen[0] < 1
    assert all(file.stat().st_size > 200 for file in write(study, tmp_path))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (paper,) = PRESETS["paper-cityscapes"]
    with pytest.raises(DataError):
        bench_of(paper, tmp_path, tmp_path)
    pretrained = DenseBench(
        pool=made(4, 0),
        test=made(2, 1),
        classes=MaskClasses.numbered(("a", "b")),
        lessons=Lessons(pretrained=True),
        encoders=tmp_path,
    )
    with pytest.raises(DataError, match="resnet18"):
        pretrained.teach("unet:resnet18", np.arange(2), seed=0)
