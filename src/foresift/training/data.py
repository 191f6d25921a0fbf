"""Images as batches, in an order that depends on seed and epoch only."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.generations import Transform

CACHE_BYTES = 1 << 30
"""Pixel sets up to this size are decoded once and kept in memory."""

Codes = npt.NDArray[np.integer[Any]]
"""(n,) class indices."""


class ArrayImages:
    """n images of one size, decoded once if they fit ``cache_bytes``, else whenever they are asked for.

    Args:
        load: row -> (s, s, 3) uint8; called from several threads. A row that can't be
            loaded is the caller's to leave out beforehand.
        count: n.
        transform: of the model; its size is s.
        identity: what distinguishes this set from another of the same size (a pool version);
            interrupted training resumes only on the same set.
    """

    def __init__(
        self,
        load: Callable[[int], Pixels],
        count: int,
        transform: Transform,
        *,
        identity: str = "",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.transform = transform
        self.identity = identity
        self._load = load
        self._count = count
        self._cache: Pixels | None = None
        self.cached = count * transform.size**2 * 3 <= cache_bytes

    @classmethod
    def from_array(cls, pixels: Pixels, transform: Transform, *, identity: str = "") -> ArrayImages:
        """Images that are in memory already: (n, s, s, 3) uint8, not copied."""
        images = cls(lambda row: pixels[row], len(pixels), transform, identity=identity)
        for row in range(min(1, len(pixels))):
            images._checked(pixels[row], row)
        images._cache, images.cached = pixels, True
        return images

    def __len__(self) -> int:
        return self._count

    def batch(self, rows: npt.NDArray[np.intp]) -> Pixels:
        """(b, s, s, 3) uint8 pixels of b rows."""
        if self.cached:
            return self._pixels()[rows]
        return np.stack([self._checked(self._load(int(row)), int(row)) for row in rows])

    def some(self, rows: npt.NDArray[np.intp]) -> ArrayImages:
        """The given rows as a set of their own."""
        return ArrayImages.from_array(self.batch(rows), self.transform, identity=self.identity)

    def first(self) -> ArrayImages:
        """The first image alone."""
        return self.some(np.array([0], dtype=np.intp))

    def prepare(self) -> None:
        """Fill the cache now, where there is one, so that no epoch waits for it."""
        if self.cached:
            self._pixels()

    def _pixels(self) -> Pixels:
        if self._cache is None:
            size = self.transform.size
            cache = np.empty((self._count, size, size, 3), dtype=np.uint8)

            def fill(row: int) -> None:
                cache[row] = self._checked(self._load(row), row)

            with ThreadPoolExecutor(os.cpu_count()) as threads:
                list(threads.map(fill, range(self._count)))
            self._cache = cache
        return self._cache

    def _checked(self, pixels: Pixels, row: int) -> Pixels:
        shape = (self.transform.size, self.transform.size, 3)
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise DataError(
                f"image of row {row}: expected {shape} uint8, got {pixels.shape} {pixels.dtype}; resize it first"
            )
        return pixels


class Batch(NamedTuple):
    """What a training step gets."""

    pixels: Tensor
    """(b, s, s, 3) uint8"""
    codes: Tensor
    """(b,) int64"""
    epoch: int
    number: int
    """Of the batch in its epoch: with the epoch, the seed of its augmentation."""


class BatchKey(NamedTuple):
    """Which batch, and what ``decode`` gives for its rows if it is at work already."""

    epoch: int
    number: int
    rows: npt.NDArray[np.intp]
    decoded: Future[Any] | None


class _Batches(Dataset[Batch]):
    """Whole batches by key: one gather instead of b single reads."""

    def __init__(self, images: ArrayImages, codes: Codes) -> None:
        self._images = images
        self._codes = torch.from_numpy(np.asarray(codes, dtype=np.int64))

    def __getitem__(self, key: BatchKey) -> Batch:
        pixels = self._images.batch(key.rows) if key.decoded is None else key.decoded.result()
        return Batch(torch.from_numpy(pixels), self._codes[torch.from_numpy(key.rows)], key.epoch, key.number)


class EpochOrder(Sampler[BatchKey]):
    """Batches of rows: shuffled anew in every epoch from (seed, epoch), or in order without a seed.

    Batch norm can't learn from one value: when shuffling, a last batch of one row joins the batch
    before it, and a row that is alone even so comes twice, which leaves the mean loss as it is.

    Args:
        decode: gives the pixels of some rows; run for the coming batches by ``ahead`` threads. Threads
            rather than processes: decoding lets other threads run, and libraries in use do not survive a fork.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int | None,
        decode: Callable[[npt.NDArray[np.intp]], Any] | None = None,
        ahead: int = 0,
    ) -> None:
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._decode, self._ahead = decode, ahead
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, also after a resume."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[BatchKey]:
        if self._decode is None or not self._ahead:
            yield from (BatchKey(*key, None) for key in self._keys())
            return
        waiting: deque[BatchKey] = deque()
        with ThreadPoolExecutor(self._ahead, thread_name_prefix="decode") as threads:
            for epoch, number, rows in self._keys():
                waiting.append(BatchKey(epoch, number, rows, threads.submit(self._decode, rows)))
                if len(waiting) > self._ahead:
                    yield waiting.popleft()
            yield from waiting

    def _keys(self) -> Iterator[tuple[int, int, npt.NDArray[np.intp]]]:
        order = np.arange(self._count)
        if self._seed is not None:
            np.random.default_rng([self._seed, self.epoch]).shuffle(order)
        ends = [*self._starts()[1:], self._count]
        for index, (start, end) in enumerate(zip(self._starts(), ends, strict=True)):
            yield self.epoch, index, self._at_least_two(order[start:end])

    def __len__(self) -> int:
        return len(self._starts())

    def _at_least_two(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.repeat(rows, 2) if self._seed is not None and len(rows) == 1 else rows

    def _starts(self) -> list[int]:
        starts = list(range(0, self._count, self._batch_size))
        alone = self._seed is not None and self._count % self._batch_size == 1 and self._batch_size > 1
        return starts[:-1] if alone and len(starts) > 1 else starts


def loader(
    images: ArrayImages, codes: Codes, *, batch_size: int, seed: int | None, workers: int | None = None
) -> DataLoader[Batch]:
    """Batches of ``images``; the same ones in the same order whatever the number of workers.

    Args:
        seed: shuffles; None keeps the order (validation).
        workers: threads that decode ahead; None = none for cached images, else up to 4.
    """
    images.prepare()
    count = workers if workers is not None else (0 if images.cached else min(4, os.cpu_count() or 1))
    order = EpochOrder(len(images), batch_size, seed=seed, decode=images.batch, ahead=count)
    return DataLoader(_Batches(images, codes), sampler=order, batch_size=None, generator=torch.Generator())


def check_codes(codes: Codes, *, count: int, classes: int) -> tuple[str, ...]:
    """Notes on labels that are usable but odd: classes without samples.

    Raises:
        UsageError: no images, fewer than 2 classes, or codes of another length.
        LabelError: a code outside 0 .. classes - 1.
    """
    if classes < 2:
        raise UsageError(f"a classifier needs at least 2 classes, got {classes}")
    if codes.ndim != 1 or len(codes) != count or not count:
        raise UsageError(f"expected one class code for each of {count} images (1 or more), got {codes.shape}")
    outside = np.flatnonzero((codes < 0) | (codes >= classes))
    if outside.size:
        row = int(outside[0])
        raise LabelError(
            f"row {row}: class code {int(codes[row])} is outside 0 .. {classes - 1}; train on labeled rows only"
        )
    absent = np.flatnonzero(np.bincount(codes, minlength=classes) == 0)
    if not absent.size:
        return ()
    shown = ", ".join(map(str, absent[:5].tolist())) + (", ..." if absent.size > 5 else "")
    return (f"{absent.size} of {classes} classes have no sample to learn from (codes {shown})",)
