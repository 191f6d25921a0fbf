"""Embeddings of patches: means of a feature map, however the image went through the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import ModelError, UsageError
from foresift.inference.dense_columns import DenseSubject, PatchEmbeddings, PatchGrid


class Features(nn.Module):
    """Each feature sees the square of pixels that it stands for."""

    def __init__(self, stride: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stride = stride
        self.body = nn.Conv2d(3, 5, stride, stride=stride)

    def features(self, images: Tensor) -> Tensor:
        below, beside = (-side % self.stride for side in images.shape[2:])
        return self.body(functional.pad(images, (0, beside, 0, below)))


SUBJECT = DenseSubject(network=Features().requires_grad_(False), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
COARSE = replace(SUBJECT, network=Features(32).requires_grad_(False))


def picture(h: int, w: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(h, w, 3), dtype=np.uint8)


def direct(pixels: np.ndarray, patch: int, subject: DenseSubject = SUBJECT) -> np.ndarray:
    """(i j d,) one feature at a time."""
    image = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - torch.tensor(SUBJECT.mean).view(1, 3, 1, 1)) / (
        torch.tensor(SUBJECT.std).view(1, 3, 1, 1)
    )
    features, stride = subject.network.features(image)[0].numpy(), subject.network.stride
    of: dict[tuple[int, int], list[np.ndarray]] = {}
    for i in range(features.shape[1]):
        for j in range(features.shape[2]):
            y, x = stride * i + stride // 2, stride * j + stride // 2
            if y < pixels.shape[0] and x < pixels.shape[1]:
                of.setdefault((y // patch, x // patch), []).append(features[:, i, j])
    return np.concatenate([np.mean(of[key], axis=0) for key in sorted(of)])


@pytest.mark.parametrize("patch", [16, 32, 64])
def test_a_patch_has_the_mean_of_the_features_whose_middles_lie_in_it(patch: int) -> None:
    pixels = picture(88, 112)
    made = PatchEmbeddings(patch=patch).scorer(SUBJECT)(pixels)
    assert (made.height, made.width) == (88, 112)
    np.testing.assert_allclose(made.values, direct(pixels, patch), rtol=1e-4, atol=1e-5)


def test_features_that_lie_in_two_patches_belong_to_that_of_their_middle() -> None:
    pixels = picture(150, 217)
    made = PatchEmbeddings(patch=48).scorer(COARSE)(pixels)
    np.testing.assert_allclose(made.values, direct(pixels, 48, COARSE).reshape(-1), rtol=1e-4, atol=1e-5)


def test_in_windows_as_whole() -> None:
    pixels = picture(150, 217)
    tiled = PatchEmbeddings(patch=32, tile=64, overlap=32).scorer(SUBJECT)(pixels)
    whole = PatchEmbeddings(patch=32).scorer(SUBJECT)(pixels)
    np.testing.assert_allclose(tiled.values, whole.values, rtol=1e-4, atol=1e-5)


def test_the_whole_image_is_one_patch_of_its_own() -> None:
    pixels = picture(80, 120)
    made = PatchEmbeddings(patch=0).scorer(SUBJECT)(pixels)
    np.testing.assert_allclose(made.values, direct(pixels, 1000), rtol=1e-4, atol=1e-5)


def test_a_border_patch_too_small_for_any_feature_takes_those_beside_it() -> None:
    made = PatchEmbeddings(patch=32).scorer(SUBJECT)(picture(66, 35)).values.reshape(3, 2, 5)
    np.testing.assert_array_equal(made[2], made[1])
    np.testing.assert_array_equal(made[:, 1], made[:, 0])


def test_patches_have_places_in_the_image_and_not_in_what_the_network_sees() -> None:
    half = DenseSubject(
        network=SUBJECT.network,
        mean=SUBJECT.mean,
        std=SUBJECT.std,
        resize=lambda pixels: np.ascontiguousarray(pixels[::2, ::2]),
    )
    pixels = picture(64, 96)
    seen = PatchEmbeddings(patch=16).scorer(SUBJECT)(half.resize(pixels)).values
    np.testing.assert_allclose(PatchEmbeddings(patch=32).scorer(half)(pixels).values, seen, rtol=1e-5)


def test_a_network_without_features_is_refused_with_a_way_on() -> None:
    plain = DenseSubject(network=nn.Conv2d(3, 2, 1), mean=SUBJECT.mean, std=SUBJECT.std)
    with pytest.raises(ModelError, match="score of pixels"):
        PatchEmbeddings().scorer(plain)


def test_every_parameter_is_in_the_spelling() -> None:
    assert PatchGrid().spelling == "patch-grid:tile=1024,overlap=256"
    assert PatchEmbeddings(patch=64).spelling == "patch-embeddings:patch=64,tile=1024,overlap=256"
    for wrong in ({"tile": 100}, {"overlap": 1024}):
        with pytest.raises(UsageError, match="tile and overlap"):
            PatchGrid(**wrong)
    with pytest.raises(UsageError, match="multiple of 16"):
        PatchEmbeddings(patch=20)
