"""The torch path of pixel scores and cells against the NumPy kernels; windows against whole images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foresift.core.errors import ModelError, NonFiniteError, UsageError
from foresift.inference import dense
from foresift.inference.dense import DenseScorer, cell_sums, others_by_index, others_by_plane, score_maps
from foresift.inference.tiles import windows
from foresift.kernels.patch_grid import cells_of
from foresift.scores.dense import PIXEL_SCORES, score_map

PLAIN = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}


def small_network(classes: int = 5, seed: int = 0) -> nn.Module:
    """Sees 2 pixels around each; no strides."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, classes, 3, padding=1)]
    return nn.Sequential(*layers).eval()


def picture(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("others", [others_by_plane, others_by_index])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("classes", [2, 19, 40])
def test_torch_scores_are_those_of_the_kernel(
    classes: int, order: torch.memory_format, others: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "others_by_plane", others)
    logits = np.random.default_rng(1).normal(size=(2, classes, 9, 11)).astype(np.float32) * 8
    logits[0, :, 0, 0] = 0  # ties
    logits[0, 0, 0, 1] = 90  # sure
    whole = score_maps(torch.from_numpy(logits).contiguous(memory_format=order))
    monkeypatch.setattr(dense, "BLOCK_ELEMENTS", 500)
    in_blocks = score_maps(torch.from_numpy(logits).contiguous(memory_format=order))
    torch.testing.assert_close(whole, in_blocks, rtol=1e-5, atol=1e-30)
    for at, name in enumerate(PIXEL_SCORES):
        np.testing.assert_allclose(whole[:, at].numpy(), score_map(name, logits), rtol=2e-5, atol=1e-30, err_msg=name)


@pytest.mark.parametrize("others", [others_by_plane, others_by_index])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_logit_that_is_no_number_gives_no_score(wrong: float, others: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "others_by_plane", others)
    for at in range(3):
        logits = torch.zeros(1, 3, 2, 2)
        logits[0, at, 1, 0] = wrong
        finite = score_maps(logits).isfinite().all(dim=1)[0]
        assert finite.tolist() == [[True, True], [False, True]]
    extreme = torch.tensor([3e38, -3e38, 0.0]).view(1, 3, 1, 1)
    assert score_maps(extreme).isfinite().all()


def test_torch_cells_are_those_of_the_kernel() -> None:
    rng = np.random.default_rng(2)
    maps, valid = rng.random((2, 4, 37, 50)).astype(np.float32), rng.random((2, 37, 50)) < 0.7
    valid[1, :16, :16] = False
    sums, tops, counts = (part.numpy() for part in cell_sums(torch.from_numpy(maps), torch.from_numpy(valid)))
    for s in range(4):
        expected = cells_of(maps[:, s], valid)
        np.testing.assert_allclose(sums[:, s], expected.sums, rtol=1e-5)
        np.testing.assert_array_equal(tops[:, s], expected.tops.astype(np.float32))
        np.testing.assert_array_equal(counts, expected.counts)


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 700),
    w=st.integers(1, 700),
    tile=st.sampled_from([64, 128, 256]),
    overlap=st.sampled_from([0, 32]),
)
def test_windows_keep_every_pixel_once(h: int, w: int, tile: int, overlap: int) -> None:
    seen = np.zeros((h, w), dtype=int)
    for window in windows(*seen.shape, tile=tile, overlap=overlap):
        for span, length in ((window.rows, seen.shape[0]), (window.columns, seen.shape[1])):
            assert 0 <= span.start <= span.keep_from < span.keep_to <= span.stop <= length
            assert span.start % 32 == 0
            assert span.keep_from % 16 == 0
            assert span.keep_from == 0 or span.keep_from - span.start >= overlap // 2
            assert span.keep_to == length or span.stop - span.keep_to >= overlap // 2
        rows, columns = window.rows, window.columns
        seen[rows.keep_from : rows.keep_to, columns.keep_from : columns.keep_to] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [(150, 217), (96, 300), (33, 40)])
def test_in_windows_as_whole(size: tuple[int, int]) -> None:
    network, pixels = small_network(), picture(*size)
    whole = DenseScorer(network=network, **PLAIN, tile=512, overlap=32)
    tiled = DenseScorer(network=network, **PLAIN, tile=64, overlap=32)
    np.testing.assert_allclose(tiled.maps(pixels), whole.maps(pixels), rtol=1e-4, atol=1e-6)
    first, second = tiled.cells(pixels), whole.cells(pixels)
    np.testing.assert_array_equal(first.counts, second.counts)
    np.testing.assert_allclose(first.sums, second.sums, rtol=1e-4)
    np.testing.assert_allclose(first.tops, second.tops, rtol=1e-4, atol=1e-6)


def test_scores_come_back_in_the_pixels_of_the_image() -> None:
    half = DenseScorer(network=small_network(), **PLAIN, resize=lambda pixels: np.ascontiguousarray(pixels[::2, ::2]))
    pixels = np.repeat(np.repeat(picture(20, 30), 2, axis=0), 2, axis=1)
    maps, cells = half.maps(pixels), half.cells(pixels)
    assert maps.shape == (4, 40, 60)
    assert (cells.height, cells.width) == (40, 60)
    small = DenseScorer(network=small_network(), **PLAIN).maps(picture(20, 30))
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), small.mean(axis=(1, 2)), rtol=0.02)
    np.testing.assert_allclose(cells.sums, cells_of(maps).sums, rtol=1e-5)


def test_cells_are_those_of_the_maps() -> None:
    scorer, pixels = DenseScorer(network=small_network(), **PLAIN), picture(50, 70)
    found, maps = scorer.cells(pixels), scorer.maps(pixels)
    expected = cells_of(maps)
    assert (found.height, found.width) == (50, 70)
    np.testing.assert_allclose(found.sums, expected.sums, rtol=1e-5)
    np.testing.assert_array_equal(found.counts, expected.counts[0])


def test_pixels_reach_the_network_normalised() -> None:
    network = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0, 0, 0]]).view(2, 3, 1, 1))
        network.bias.zero_()
    pixels = picture(32, 32)
    normal = (pixels / 255 - PLAIN["mean"]) / PLAIN["std"] @ [1, 2, 3]
    expected = score_map("entropy", np.stack([normal, np.zeros_like(normal)]))
    np.testing.assert_allclose(DenseScorer(network=network, **PLAIN).maps(pixels)[0], expected, atol=1e-5)


def test_what_is_no_segmentation_model_is_refused() -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    smaller = nn.Conv2d(3, 4, 3, stride=2)
    for network in (pooled, smaller):
        with pytest.raises(ModelError, match="segmentation model"):
            DenseScorer(network=network, **PLAIN).cells(picture(32, 32))
    with pytest.raises(UsageError, match="2 classes"):
        DenseScorer(network=nn.Conv2d(3, 1, 1), **PLAIN).cells(picture(32, 32))
    with pytest.raises(UsageError, match="multiples of 32"):
        DenseScorer(network=small_network(), **PLAIN, tile=100)


def test_logits_that_are_not_finite_are_an_error() -> None:
    network = small_network()
    with torch.no_grad():
        network[2].bias[1] = float("nan")
    with pytest.raises(NonFiniteError, match="not finite"):
        DenseScorer(network=network, **PLAIN).cells(picture(32, 32))
