"""Images of several sizes, and a small segmentation model that knows nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foresift.core.masks import MaskClasses
from foresift.core.segmentation import DenseTransform
from foresift.models.segmentation import build_segmenter
from foresift.models.segmentation_generations import save_segmenter
from images import png

SIZES = [(96, 128), (96, 128), (70, 100), (128, 64), (40, 30), (96, 128)]


def write_pool(folder: Path, sizes: list[tuple[int, int]] | None = None) -> Path:
    """One PNG for each size, smooth on one side and noisy on the other."""
    folder.mkdir(parents=True)
    for seed, (height, width) in enumerate(SIZES if sizes is None else sizes):
        rng = np.random.default_rng(seed)
        pixels = np.full((height, width, 3), 40 * seed % 256, dtype=np.uint8)
        part = rng.integers(0, 256, size=(height // 2, width // 2, 3), dtype=np.uint8)
        pixels[: height // 2, : width // 2] = part
        (folder / f"{seed}.png").write_bytes(png(pixels))
    return folder


def write_model(folder: Path, *, classes: int = 4, size: tuple[int, int] | None = None) -> Path:
    """A segmentation generation with random weights."""
    network = build_segmenter("linknet:mobilenetv3_small_050", classes=classes, seed=0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("segmentation_head.0.weight"):
                weight *= 50  # so that pixels differ
    save_segmenter(
        folder,
        network,
        architecture="linknet:mobilenetv3_small_050",
        classes=MaskClasses.numbered([f"c{i}" for i in range(classes)]),
        transform=DenseTransform(size=size),
    )
    return folder
