"""Images with class masks as batches: cropped, mirrored and padded together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError
from foresift.core.masks import IGNORED, Mask
from foresift.core.segmentation import DenseTransform
from foresift.training.data import BatchKey, EpochOrder

CACHE_BYTES = 1 << 30
"""Decoded images and masks kept in memory; the rest is decoded whenever it is asked for."""
CROP_TRIES = 10
"""A crop without a labeled pixel is drawn again up to so many times."""

Pair: TypeAlias = tuple[Pixels, Mask]
"""(h, w, 3) uint8 and (h, w) codes."""


class MaskedImages:
    """n images, each with a class mask of its own size.

    Args:
        load: row -> a pair; called from several threads.
        count: n.
        transform: of the model; images come in the size that it gives them.
        identity: what distinguishes this set from another; interrupted training resumes only on the same set.
    """

    def __init__(
        self,
        load: Callable[[int], Pair],
        count: int,
        transform: DenseTransform,
        *,
        identity: str = "",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.transform, self.identity = transform, identity
        self._load, self._count = load, count
        self._kept: dict[int, Pair] = {}
        self._room = cache_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    @property
    def cached(self) -> bool:
        """Whether every pair is in memory."""
        return len(self._kept) == self._count

    def pair(self, row: int) -> Pair:
        """One image and its mask.

        Raises:
            DataError: the mask is not as large as the image.
        """
        if (held := self._kept.get(row)) is not None:
            return held
        pixels, mask = self._load(row)
        if pixels.ndim != 3 or pixels.shape[:2] != mask.shape:
            raise DataError(f"row {row}: an image of {pixels.shape[:2]} pixels and a mask of {mask.shape}")
        self._keep(row, (pixels, mask))
        return pixels, mask

    def pairs(self, rows: npt.NDArray[np.intp]) -> list[Pair]:
        """The pairs of some rows."""
        return [self.pair(int(row)) for row in rows]

    def _keep(self, row: int, pair: Pair) -> None:
        with self._lock:
            size = sum(part.nbytes for part in pair)
            if row not in self._kept and size <= self._room:
                self._room -= size
                self._kept[row] = pair


class MaskedBatch(NamedTuple):
    """What a step gets."""

    pixels: Tensor
    """(b, h, w, 3) uint8"""
    codes: Tensor
    """(b, h, w) int64; ``IGNORED`` where there is no label, and in the padding."""


def batches(
    images: MaskedImages,
    *,
    batch_size: int,
    seed: int | None,
    crop: tuple[int, int] | None = None,
    flip: bool = False,
) -> DataLoader[MaskedBatch]:
    """Batches of ``images``, the same ones in the same order whatever the number of workers.

    Args:
        seed: of order, crops and flips; None keeps images whole and in order.
    """
    ahead = 0 if images.cached else min(4, os.cpu_count() or 1)
    order = EpochOrder(len(images), batch_size, seed=seed, decode=images.pairs, ahead=ahead)
    view = None if seed is None else _View(seed, crop, flip)
    return DataLoader(_Batches(images, view), sampler=order, batch_size=None, generator=torch.Generator())


def collated(pairs: Sequence[Pair], *, fill: Sequence[int]) -> MaskedBatch:
    """One batch of pairs of any size: padded below and to the right to the largest sides.

    Args:
        fill: colour of the padding.
    """
    height, width = (max(mask.shape[axis] for _, mask in pairs) for axis in (0, 1))
    pixels = np.empty((len(pairs), height, width, 3), dtype=np.uint8)
    pixels[:] = np.asarray(fill, dtype=np.uint8)
    codes = np.full((len(pairs), height, width), IGNORED, dtype=np.int64)
    for row, (image, mask) in enumerate(pairs):
        pixels[row, : mask.shape[0], : mask.shape[1]] = image
        codes[row, : mask.shape[0], : mask.shape[1]] = mask
    return MaskedBatch(torch.from_numpy(pixels), torch.from_numpy(codes))


class _View(NamedTuple):
    """What chance changes, drawn from (seed, epoch, number of the batch) so that nothing else matters."""

    seed: int
    crop: tuple[int, int] | None
    flip: bool

    def of(self, pairs: Sequence[Pair], epoch: int, number: int) -> list[Pair]:
        rng = np.random.default_rng([self.seed, epoch, number])
        return [self._one(pair, rng) for pair in pairs]

    def _one(self, pair: Pair, rng: np.random.Generator) -> Pair:
        pixels, mask = pair if self.crop is None else _cropped(pair, self.crop, rng)
        mirrored = self.flip and rng.random() < 0.5
        return (pixels[:, ::-1], mask[:, ::-1]) if mirrored else (pixels, mask)


def _cropped(pair: Pair, crop: tuple[int, int], rng: np.random.Generator) -> Pair:
    """A random piece that holds a labeled pixel, where chance finds one; a smaller image stays as it is."""
    pixels, mask = pair
    height, width = (min(side, whole) for side, whole in zip(crop, mask.shape, strict=True))
    for _ in range(CROP_TRIES):
        top = int(rng.integers(mask.shape[0] - height + 1))
        left = int(rng.integers(mask.shape[1] - width + 1))
        piece = (slice(top, top + height), slice(left, left + width))
        if (mask[piece] != IGNORED).any():
            break
    return pixels[piece], mask[piece]


class _Batches(Dataset[MaskedBatch]):
    def __init__(self, images: MaskedImages, view: _View | None) -> None:
        self._images, self._view = images, view
        self._fill = [round(255 * value) for value in images.transform.mean]

    def __getitem__(self, key: BatchKey) -> MaskedBatch:
        pairs = self._images.pairs(key.rows) if key.decoded is None else key.decoded.result()
        if self._view is not None:
            pairs = self._view.of(pairs, key.epoch, key.number)
        return collated(pairs, fill=self._fill)
