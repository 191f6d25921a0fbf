"""The bench that a protocol asks for, its images decoded and embedded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Embeddings
from foresift.core.errors import UsageError
from foresift.core.generations import Transform
from foresift.core.protocols import Progress, Silent
from foresift.sources.digits import test_rows
from foresift.studies.class_folders import class_folders
from foresift.studies.image_sets import SOURCES, ImageSet, data_folder, image_set
from foresift.studies.surrogates.benches import EARLY, Bench, HeadBench, PixelBench, pixels_as_embeddings
from foresift.studies.surrogates.development import on_development
from foresift.studies.surrogates.protocol import AUTO, DEVELOPMENT, Protocol

DIGITS = "digits"
SIDE = 8
LARGEST = 8 << 30
"""Bytes up to which the pixels themselves may be embeddings."""


def bench_of(protocol: Protocol, folder: Path, data: Path | None, progress: Progress | None = None) -> Bench:
    """Everything decoded, in memory or on disk; slow only when the folder does not hold it yet.

    Raises:
        UsageError: embeddings that need a backbone.
        DataError: the images are not there.
        StoreError: no room for decoded images.
    """
    told = progress or Silent()
    if protocol.learner == "segmentation":
        from foresift.studies.surrogates.dense import dense_bench

        return dense_bench(protocol, folder, data_folder(data), told)
    images = images_of(protocol, folder, data, told)
    identity = "" if protocol.images in (DIGITS, *SOURCES) else images.name
    if not protocol.backbone:
        look = _pixels(protocol, images)
        return PixelBench(images=images, lessons=protocol.recipe, look=look, identity=identity)
    from foresift.studies.embeddings import cached_embeddings

    pool, test = cached_embeddings(
        images, backbone=protocol.backbone, epochs=protocol.backbone_epochs, folder=folder, progress=told
    )
    if protocol.learner == "pixels":
        return PixelBench(images=images, lessons=protocol.recipe, look=lambda: pool, identity=identity)
    return HeadBench(images=images, lessons=protocol.recipe, look=lambda: pool, test_embeddings=test, identity=identity)


def images_of(protocol: Protocol, folder: Path, data: Path | None, progress: Progress | None = None) -> ImageSet:
    """The images of classifiers, decoded once into a file below ``folder``; the test part is the one that judges.

    Raises:
        DataError: the images are not there.
        StoreError: no room for decoded images.
    """
    images = _decoded(protocol, folder, data, progress or Silent())
    return on_development(images) if protocol.judged_on == DEVELOPMENT else images


def digits() -> ImageSet:
    """scikit-learn's handwritten digits: a pool of 1,347 and 450 for testing, as ``foresift demo`` splits them."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    pixels: npt.NDArray[np.uint8] = np.repeat(grey[..., None], 3, axis=3)
    codes, held = bunch.target.astype(np.int64), test_rows(bunch.target)
    return ImageSet(
        name=DIGITS,
        classes=tuple(map(str, range(10))),
        pixels=pixels[~held],
        codes=codes[~held],
        test_pixels=pixels[held],
        test_codes=codes[held],
        transform=Transform(size=SIDE),
    )


def _decoded(protocol: Protocol, folder: Path, data: Path | None, progress: Progress) -> ImageSet:
    if protocol.images == DIGITS:
        return digits()
    cache = folder / "images"
    if protocol.images in SOURCES:
        return image_set(protocol.images, data_folder(data), cache=cache)
    judging = protocol.judged_on != DEVELOPMENT
    return class_folders(
        protocol.images, data_folder(data), side=protocol.side, cache=cache, progress=progress, with_test=judging
    )


def _pixels(protocol: Protocol, images: ImageSet) -> Callable[[], Embeddings]:
    """The pixels themselves in place of embeddings, made when something looks at them."""
    size_bytes = images.pixels.nbytes * np.dtype(np.float32).itemsize
    if size_bytes > LARGEST and {AUTO, EARLY} & set(protocol.strategies):
        raise UsageError(
            f"{protocol.images}: {AUTO} looks at embeddings, and the pixels themselves would be {size_bytes:,} bytes "
            "of them; name a backbone, such as timm:resnet18"
        )
    return lambda: pixels_as_embeddings(images.pixels)
