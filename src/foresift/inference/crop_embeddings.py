"""Embeddings of patches by a network for whole images: each patch is cut out and goes through alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Embeddings, Pixels
from foresift.core.errors import NonFiniteError
from foresift.core.generations import Transform
from foresift.core.regions import Region, regions_of
from foresift.core.registry import spell
from foresift.inference.dense_pass import Made, Scorer
from foresift.inference.transform import apply
from foresift.kernels.patch_grid import check_patch

CROPS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSubject:
    """The backbone that a pass asks."""

    embed: Callable[[Pixels], Embeddings]
    """(b, s, s, 3) uint8 -> (b, d)."""
    transform: Transform
    """From a crop to the square that the backbone takes."""


@dataclass(frozen=True, kw_only=True)
class CropEmbeddings:
    """The embedding of each patch of an image, patch by patch; patch=0 is the whole image.

    A patch at the border is stretched to the backbone's square like every other image.
    """

    name: ClassVar[str] = "crop-embeddings"
    patch: int = 256

    def __post_init__(self) -> None:
        if self.patch:
            check_patch(self.patch)

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        return spell(self.name, self)

    def scorer(self, subject: CropSubject) -> Scorer:
        """What makes the row of an image."""

        def made(pixels: Pixels) -> Made:
            height, width = pixels.shape[:2]
            regions = list(regions_of(height, width, self.patch)) if self.patch else [Region(0, 0, width, height)]
            return Made(height, width, _embedded(pixels, regions, subject).reshape(-1))

        return made


def _embedded(pixels: Pixels, regions: list[Region], subject: CropSubject) -> Embeddings:
    """(k, d) of the k regions of one image, some crops in memory at a time."""
    found = []
    for start in range(0, len(regions), CROPS_AT_ONCE):
        boxes = [region.box for region in regions[start : start + CROPS_AT_ONCE]]
        crops = [apply(pixels[top:lower, left:right], subject.transform) for left, top, right, lower in boxes]
        found.append(subject.embed(np.stack(crops)))
    embeddings: Embeddings = np.concatenate(found).astype(np.float32, copy=False)
    if not np.isfinite(embeddings).all():
        raise NonFiniteError("the model gave embeddings that are not finite; its weights are broken: train again")
    return embeddings
