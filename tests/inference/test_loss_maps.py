"""The mean of a predicted map over an image: every pixel of it once, whatever the windows and the padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import NonFiniteError
from foresift.inference.dense_columns import DenseSubject
from foresift.inference.loss_maps import LossMapSubject, PredictedLossMap

PADDING = 1e6


def local(images: Tensor) -> Tensor:
    """For each cell the mean of its own pixels, and something enormous where there is none."""
    below, beside = (-side % 16 for side in images.shape[2:])
    inside = functional.pad(torch.ones_like(images[:, :1]), (0, beside, 0, below))
    values = functional.pad(images[:, :1], (0, beside, 0, below))
    area = functional.avg_pool2d(inside, 4)
    return torch.where(area > 0, functional.avg_pool2d(values, 4) / area.clamp_min(1e-9), PADDING)[:, 0]


DENSE = DenseSubject(network=nn.Conv2d(3, 2, 1), mean=(0.0,) * 3, std=(1.0,) * 3)
SUBJECT = LossMapSubject(dense=DENSE, predict=local, cell=4)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(16, 32), (1, 1), (33, 50), (97, 130), (64, 301)])
@pytest.mark.parametrize("tile", [1024, 64])
def test_it_is_the_mean_over_the_pixels_of_the_image(size: tuple[int, int], tile: int) -> None:
    pixels = picture(*size)
    made = PredictedLossMap(tile=tile, overlap=32 if tile == 64 else 256).scorer(SUBJECT)(pixels)
    assert (made.height, made.width) == size
    assert made.values.shape == (1,)
    assert float(made.values[0]) == pytest.approx(float((pixels[..., 0] / 255).mean()), rel=1e-5)


def test_an_image_is_judged_in_the_size_in_which_the_network_sees_it() -> None:
    subject = replace(SUBJECT, dense=replace(DENSE, resize=lambda pixels: pixels[:8, :8]))
    pixels = picture(40, 40)
    made = PredictedLossMap().scorer(subject)(pixels)
    assert (made.height, made.width) == (40, 40)
    assert float(made.values[0]) == pytest.approx(float((pixels[:8, :8, 0] / 255).mean()), rel=1e-5)


def test_losses_that_are_not_finite_are_no_ranking() -> None:
    subject = replace(SUBJECT, predict=lambda images: local(images) * torch.nan)
    with pytest.raises(NonFiniteError, match="not finite"):
        PredictedLossMap().scorer(subject)(picture(16, 16))
