"""Self-supervised embeddings of an image set, trained once on the pool's own images and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.core.protocols import Progress
from foresift.studies.image_sets import ImageSet

Matrix = npt.NDArray[np.float32]


def cached_embeddings(
    images: ImageSet, *, backbone: str, epochs: int, folder: Path, progress: Progress
) -> tuple[Matrix, Matrix]:
    """(n, d) of the pool and of the test part: SimCLR without a label, from a file of ``folder`` if it is there."""
    kept = folder / f"embeddings-{images.name}-{backbone}-{epochs}.npz"
    if not kept.exists():
        pool, test = _embed(images, backbone=backbone, epochs=epochs, folder=folder, progress=progress)
        temporary = kept.with_suffix(".tmp.npz")
        np.savez(temporary, pool=pool, test=test)
        temporary.replace(kept)
    with np.load(kept, allow_pickle=False) as arrays:
        return arrays["pool"], arrays["test"]


def _embed(images: ImageSet, *, backbone: str, epochs: int, folder: Path, progress: Progress) -> tuple[Matrix, Matrix]:
    from foresift.models import Backbone, build
    from foresift.training.data import ArrayImages
    from foresift.training.self_supervised import SimClr, embed, train_simclr

    network = Backbone(build(backbone, classes=2, image_size=images.transform.size, seed=0))
    pool = ArrayImages.from_array(images.pixels, images.transform, identity=images.name)
    recipe = SimClr(epochs=epochs, batch_size=256, lr=2e-3)
    scratch = folder / f"simclr-{images.name}-{backbone}"
    train_simclr(network, pool, recipe=recipe, seed=0, folder=scratch, labels=images.codes, progress=progress)
    test = ArrayImages.from_array(images.test_pixels, images.transform)
    return embed(network, pool), embed(network, test)
