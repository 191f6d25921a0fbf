"""Two random views of each image for self-supervised training, drawn from (seed, epoch, batch)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Luma of ITU-R BT.601."""
PRESETS = ("colour", "grey")
"""``grey`` leaves colour alone and turns images upside down too, for sensors without a fixed orientation."""
AREA = (0.2, 1.0)
"""Share of the image that a crop keeps; SimCLR's 0.08 leaves too little of a small image."""
JITTER, SATURATION, HUE, SOME = 0.4, 0.4, 0.1, 0.8
GREY_SHARE, BLUR_SHARE, BLUR_FROM = 0.2, 0.5, 64
"""Blur only from 64 px on: smaller images have nothing to lose (Chen et al. 2020, appendix B.9)."""


def two_views(pixels: Tensor, *, preset: str, seed: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Two independently changed copies of (b, s, s, 3) uint8 pixels: (b, 3, s, s) float32 within 0 .. 1.

    Args:
        preset: one of ``PRESETS``.
        seed: (run's seed, epoch, batch index).
    Source: Chen et al. 2020 (SimCLR), section 3 and appendix A, with crops of at least 20 % of the area.
    """
    rng = np.random.default_rng(seed)
    images = pixels.permute(0, 3, 1, 2).float() / 255
    return _view(images, preset, rng), _view(images, preset, rng)


def _view(images: Tensor, preset: str, rng: np.random.Generator) -> Tensor:
    cropped = _cropped(images, rng)
    if preset == "grey":
        changed = _exposed(_flipped(cropped, rng, axis=2), rng)
    else:
        changed = _greyed(_recoloured(cropped, rng), rng)
    return _blurred(changed, rng) if images.shape[-1] >= BLUR_FROM else changed


def _cropped(images: Tensor, rng: np.random.Generator) -> Tensor:
    """A random box, mirrored in half of the images, stretched to the whole size (bilinear)."""
    count, size = len(images), images.shape[-1]
    area = rng.uniform(*AREA, size=count)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), size=count))
    wide, high = np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio))
    x, y = (rng.uniform(-1, 1, size=count) * (1 - side) for side in (wide, high))
    mirror, zero = rng.choice([-1.0, 1.0], size=count), np.zeros(count)
    boxes = np.stack([mirror * wide, zero, x, zero, high, y], axis=1).reshape(count, 2, 3)
    grid = functional.affine_grid(_on(boxes, images), [count, images.shape[1], size, size], align_corners=False)
    cut: Tensor = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return cut


def _flipped(images: Tensor, rng: np.random.Generator, *, axis: int) -> Tensor:
    flips = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device).view(-1, 1, 1, 1)
    return torch.where(flips, images.flip(axis), images)


def _exposed(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness and contrast of each image varied."""
    brightness, contrast = _on(rng.uniform(1 - JITTER, 1 + JITTER, size=(2, len(images), 1, 1, 1)), images)
    bright = images * brightness
    middle = bright.mean(dim=(1, 2, 3), keepdim=True)
    varied: Tensor = (middle + (bright - middle) * contrast).clamp(0, 1)
    return varied


def _recoloured(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of four in five images varied.

    Hue turns around the grey axis: a linear map of the three channels, not a detour over HSV.
    """
    chosen = torch.from_numpy(rng.random(len(images)) < SOME).to(images.device).view(-1, 1, 1, 1)
    exposed = _exposed(images, rng)
    grey = _luma(exposed)
    saturation = _on(rng.uniform(1 - SATURATION, 1 + SATURATION, size=(len(images), 1, 1, 1)), images)
    turns = _on(_hue_turns(rng.uniform(-HUE, HUE, size=len(images))), images)
    turned: Tensor = torch.einsum("bij,bjhw->bihw", turns, grey + (exposed - grey) * saturation)
    return torch.where(chosen, turned.clamp(0, 1), images)


def _hue_turns(turns: np.ndarray) -> np.ndarray:
    """(b, 3, 3) rotations of RGB around (1, 1, 1) by so many whole turns (Rodrigues' formula)."""
    angle = (2 * np.pi * turns)[:, None, None]
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return np.asarray(np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * (axis @ axis))


def _greyed(images: Tensor, rng: np.random.Generator) -> Tensor:
    """One in five images without colour."""
    chosen = torch.from_numpy(rng.random(len(images)) < GREY_SHARE).to(images.device).view(-1, 1, 1, 1)
    return torch.where(chosen, _luma(images).expand_as(images), images)


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor(GREY_WEIGHTS, device=images.device).view(1, 3, 1, 1)
    luma: Tensor = (images * weights).sum(dim=1, keepdim=True)
    return luma


def _blurred(images: Tensor, rng: np.random.Generator) -> Tensor:
    """A Gaussian of 0.1 .. 2 px over half of the images; one width for a batch, which is one convolution."""
    sigma = float(rng.uniform(0.1, 2.0))
    steps = torch.arange(-4, 5, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    line = (kernel / kernel.sum()).repeat(3, 1, 1)
    padded = functional.pad(images, (4, 4, 4, 4), mode="replicate")
    soft = functional.conv2d(functional.conv2d(padded, line[:, :, None, :], groups=3), line[:, :, :, None], groups=3)
    chosen = torch.from_numpy(rng.random(len(images)) < BLUR_SHARE).to(images.device).view(-1, 1, 1, 1)
    return torch.where(chosen, soft, images)


def _on(values: np.ndarray, images: Tensor) -> Tensor:
    """Random numbers, always drawn on the CPU, on the device of the images."""
    return torch.from_numpy(values.astype(np.float32)).to(images.device)
