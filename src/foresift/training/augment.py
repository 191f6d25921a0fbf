"""Random changes of training images, drawn from (seed, epoch, batch) so that nothing else matters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from foresift.core.generations import Transform
from foresift.core.segmentation import DenseTransform

CROP_MARGIN = 8
"""Crops move by up to 1/8 of the side, as 4 of 32 pixels in He et al. 2016; the edge is repeated, not black."""
JITTER = 0.3
"""Brightness, contrast and saturation vary by up to 30 %."""
AREA = (0.35, 1.0)
"""Share of the image that a random resized crop keeps; ImageNet's 0.08 hides small objects."""


def augment(pixels: Tensor, *, kind: str, seed: tuple[int, int, int]) -> Tensor:
    """(b, s, s, 3) pixels in 0 .. 255 after the changes of ``kind``: float32 or the uint8 that came.

    Args:
        pixels: (b, s, s, 3) uint8 on any device.
        kind: as in :class:`~foresift.training.recipe.Recipe`.
        seed: (run's seed, epoch, batch index).
    """
    rng = np.random.default_rng(seed)
    if kind == "none":
        return pixels
    if kind == "shift":
        return _shifted(pixels, rng)
    if kind == "random-resized-crop":
        return _flipped(_resized_crop(pixels, rng), rng)
    cropped = _flipped(_shifted(pixels, rng), rng)
    return _recoloured(cropped, rng) if kind == "flip-crop-color" else cropped


def normalise(pixels: Tensor, transform: Transform | DenseTransform) -> Tensor:
    """(b, 3, h, w) float32 network input of (b, h, w, 3) pixels in 0 .. 255, in channels-last memory."""
    mean = torch.tensor(transform.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(transform.std, device=pixels.device).view(1, 3, 1, 1)
    return (pixels.permute(0, 3, 1, 2).float() - 255 * mean) / (255 * std)


def _flipped(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the images mirrored left to right."""
    flips = _on(rng.random(len(pixels)) < 0.5, pixels).view(-1, 1, 1, 1)
    return torch.where(flips, pixels.flip(2), pixels)


def _shifted(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image moved by up to an eighth of its side in both directions."""
    count, size = pixels.shape[:2]
    reach = max(1, size // CROP_MARGIN)
    moves = rng.integers(-reach, reach + 1, size=(2, count, 1))
    at = np.clip(np.arange(size) + moves, 0, size - 1)  # (2, b, s): source row and column
    rows, columns = _on(at[0], pixels), _on(at[1], pixels)
    image = torch.arange(count, device=pixels.device).view(-1, 1, 1)
    return pixels[image, rows[:, :, None], columns[:, None, :]]


def _resized_crop(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """A random box of each image, stretched to the whole size (bilinear)."""
    count, size = pixels.shape[:2]
    area = rng.uniform(*AREA, size=count)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), size=count))
    wide, high = np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio))
    x, y = (rng.uniform(-1, 1, size=count) * (1 - side) for side in (wide, high))
    zero = np.zeros(count)
    boxes = np.stack([wide, zero, x, zero, high, y], axis=1).reshape(count, 2, 3)
    grid = functional.affine_grid(_on(boxes.astype(np.float32), pixels), [count, 3, size, size], align_corners=False)
    images = pixels.permute(0, 3, 1, 2).float()
    cut: Tensor = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return cut.permute(0, 2, 3, 1)


def _recoloured(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation of each image varied, in this order."""
    factors = rng.uniform(1 - JITTER, 1 + JITTER, size=(3, len(pixels), 1, 1, 1)).astype(np.float32)
    brightness, contrast, saturation = _on(factors, pixels)
    bright = pixels.float() * brightness
    middle = bright.mean(dim=(1, 2, 3), keepdim=True)
    contrasted = middle + (bright - middle) * contrast
    grey = contrasted.mean(dim=3, keepdim=True)
    saturated: Tensor = (grey + (contrasted - grey) * saturation).clamp(0, 255)
    return saturated


def _on(values: np.ndarray, pixels: Tensor) -> Tensor:
    """Random numbers, always drawn on the CPU, on the device of the pixels."""
    return torch.from_numpy(values).to(pixels.device)
