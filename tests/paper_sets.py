"""The image sets of the paper as a few made-up images, each in the layout that it comes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01440764", "n01443537", "n01484850")


def picture(path: Path, rng: np.random.Generator, *, width: int, height: int, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = level + rng.integers(0, 50, (height, width, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="JPEG" if path.suffix == ".JPEG" else None)


def mask(path: Path, rng: np.random.Generator, values: tuple[int, ...], *, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.choice(np.array(values, dtype=np.uint8), (height, width))).save(path)


def cityscapes(data: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 3)):
        for at in range(count):
            stem = f"aachen_{at:06d}_000019"
            picture(data / f"cityscapes/leftImg8bit/{part}/aachen/{stem}_leftImg8bit.png", rng, width=64, height=32)
            labels = data / f"cityscapes/gtFine/{part}/aachen/{stem}_gtFine_labelIds.png"
            mask(labels, rng, (0, 7, 11, 26), width=64, height=32)


def ade20k(data: Path) -> None:
    """Of different shapes, as its images are."""
    rng = np.random.default_rng(0)
    for part, tag, count in (("training", "train", 16), ("validation", "val", 3)):
        for at in range(count):
            size = {"width": 48 + 8 * (at % 3), "height": 56 - 8 * (at % 2)}
            picture(data / f"ade20k/images/{part}/ADE_{tag}_{at:08d}.jpg", rng, **size)
            mask(data / f"ade20k/annotations/{part}/ADE_{tag}_{at:08d}.png", rng, (0, 1, 2, 150), **size)


def imagenet(data: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 2)):
        for code, name in enumerate(CLASSES):
            for at in range(count):
                path = data / f"imagenet/{part}/{name}/{name}_{at}.JPEG"
                picture(path, rng, width=50 + at, height=40, level=80 * code)
