"""The bench that a protocol asks for, its images decoded and embedded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Embeddings
from foresift.core.generations import Transform
from foresift.core.protocols import Progress, Silent
from foresift.sources.digits import test_rows
from foresift.studies.image_sets import ImageSet, data_folder, image_set
from foresift.studies.surrogates.benches import Bench, HeadBench, PixelBench, pixels_as_embeddings
from foresift.studies.surrogates.protocol import Protocol

DIGITS = "digits"
SIDE = 8


def bench_of(protocol: Protocol, folder: Path, data: Path | None, progress: Progress | None = None) -> Bench:
    """Everything decoded and in memory; slow only when the folder does not hold it yet.

    Raises:
        DataError: the images are not there.
    """
    told = progress or Silent()
    if protocol.learner == "segmentation":
        from foresift.studies.surrogates.dense import dense_bench

        return dense_bench(protocol, folder, data_folder(data), told)
    images = images_of(protocol, folder, data)
    pool, test = _embeddings(protocol, images, folder, told)
    if protocol.learner == "pixels":
        return PixelBench(images=images, lessons=protocol.recipe, embeddings=pool)
    return HeadBench(images=images, lessons=protocol.recipe, embeddings=pool, test_embeddings=test)


def images_of(protocol: Protocol, folder: Path, data: Path | None) -> ImageSet:
    """The images of classifiers, decoded once into a file below ``folder``.

    Raises:
        DataError: the images are not there.
    """
    if protocol.images == DIGITS:
        return digits()
    return image_set(protocol.images, data_folder(data), cache=folder / "images")


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


def _embeddings(
    protocol: Protocol, images: ImageSet, folder: Path, progress: Progress
) -> tuple[Embeddings, Embeddings]:
    """Self-supervised ones if a backbone is named, else the pixels themselves."""
    if not protocol.backbone:
        return pixels_as_embeddings(images.pixels), pixels_as_embeddings(images.test_pixels)
    from foresift.studies.embeddings import cached_embeddings

    return cached_embeddings(
        images, backbone=protocol.backbone, epochs=protocol.backbone_epochs, folder=folder, progress=progress
    )
