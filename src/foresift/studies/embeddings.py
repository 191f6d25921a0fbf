"""Self-supervised embeddings of an image set, trained once on the pool's own images and kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foresift.core.protocols import Progress, Silent
from foresift.studies.image_sets import ImageSet

if TYPE_CHECKING:
    from foresift.training.data import ArrayImages
    from foresift.training.self_supervised import SimClr

Matrix = npt.NDArray[np.float32]
REHEARSED = 512
"""Images that a rehearsal trains on, two steps an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A backbone that has hardly begun to learn, and how long the whole training and embedding will take."""

    network: Any
    seconds: float


def cached_embeddings(
    images: ImageSet, *, backbone: str, epochs: int, folder: Path, progress: Progress
) -> tuple[Matrix, Matrix]:
    """(n, d) of the pool and of the test part: SimCLR without a label, from a file of ``folder`` if it is there."""
    kept = kept_embeddings(images.name, backbone=backbone, epochs=epochs, folder=folder)
    if not kept.exists():
        pool, test = _embed(images, backbone=backbone, epochs=epochs, folder=folder, progress=progress)
        temporary = kept.with_suffix(".tmp.npz")
        np.savez(temporary, pool=pool, test=test)
        temporary.replace(kept)
    with np.load(kept, allow_pickle=False) as arrays:
        return arrays["pool"], arrays["test"]


def kept_embeddings(name: str, *, backbone: str, epochs: int, folder: Path) -> Path:
    """The file of an image set's embeddings, there or not."""
    return folder / f"embeddings-{name}-{backbone}-{epochs}.npz"


def rehearsed(images: ImageSet, *, backbone: str, epochs: int) -> Rehearsal:
    """How long :func:`cached_embeddings` will take, told by two epochs over a few images."""
    from foresift.training.self_supervised import MONITORED, embed, train_simclr

    network, pool = _untrained(images, backbone), _images(images)
    n, laps = len(pool), _Laps()
    few = pool.some(np.arange(min(n, REHEARSED)))
    with TemporaryDirectory() as scratch:
        train_simclr(network, few, recipe=_recipe(epochs=2), seed=0, folder=Path(scratch), progress=laps)
    began = time.perf_counter()
    embed(network, few)
    looked = time.perf_counter() - began
    trained = laps.ends[-1] - laps.ends[-2]  # the first epoch warms up
    looks = epochs * min(n, MONITORED) + n + len(images.test_codes)
    return Rehearsal(network=network, seconds=(epochs * n * trained + looks * looked) / len(few))


def embedded(network: Any, images: ImageSet) -> tuple[Matrix, Matrix]:
    """(n, d) of the pool and of the test part."""
    from foresift.training.data import ArrayImages
    from foresift.training.self_supervised import embed

    test = ArrayImages.from_array(images.test_pixels, images.transform)
    return embed(network, _images(images)), embed(network, test)


class _Laps(Silent):
    """When each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def advance(self, units: int) -> None:  # noqa: ARG002 - an epoch each time
        self.ends.append(time.perf_counter())


def _embed(images: ImageSet, *, backbone: str, epochs: int, folder: Path, progress: Progress) -> tuple[Matrix, Matrix]:
    from foresift.training.self_supervised import train_simclr

    network, pool = _untrained(images, backbone), _images(images)
    scratch = folder / f"simclr-{images.name}-{backbone}"
    train_simclr(network, pool, recipe=_recipe(epochs), seed=0, folder=scratch, labels=images.codes, progress=progress)
    return embedded(network, images)


def _untrained(images: ImageSet, backbone: str) -> Any:
    from foresift.models import Backbone, build

    return Backbone(build(backbone, classes=2, image_size=images.transform.size, seed=0))


def _images(images: ImageSet) -> ArrayImages:
    from foresift.training.data import ArrayImages

    return ArrayImages.from_array(images.pixels, images.transform, identity=images.name)


def _recipe(epochs: int) -> SimClr:
    from foresift.training.self_supervised import SimClr

    return SimClr(epochs=epochs, batch_size=256, lr=2e-3)
