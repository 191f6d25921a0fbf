"""``foresift train --task segmentation``: what can be refused is refused before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from foresift.app.pixels.training_request import SegmentationRequest, SegmentationTrained, dense_transform
from foresift.app.workspace import Workspace
from foresift.core.errors import ModelError
from foresift.sources.segmentation import masked_images
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation, is_segmentation
from foresift.training.segmentation_recipe import SegmentationRecipe


def train_segmentation(workspace: Workspace, root: str | Path, request: SegmentationRequest) -> SegmentationTrained:
    """Train on the images and masks of a root and write the generation folder ``request.out``.

    An interrupted call, repeated, continues after its last whole epoch; a call whose generation
    is complete, repeated, trains nothing.

    Raises:
        UsageError: options that make no sense together, or nothing lies at ``root``; nothing was done.
        DataError: no images with masks, or none that can be used.
        ModelError: the folder is taken, or the weights do not fit.
        MissingExtraError: torch or segmentation-models-pytorch is not installed.
    """
    SegmentationRecipe.from_dict(request.recipe)
    dense_transform(request.image_size)
    for split in filter(None, (request.split, request.val_split)):
        masked_images(root, split, layout=request.layout)
    if not _is_free(request.out) and not is_segmentation(request.out):
        what = "holds a classifier" if is_generation(request.out) else "is taken"
        raise ModelError(f"{request.out} {what}; choose a new folder (nothing was overwritten)")
    from foresift.app.pixels.fitting import fit_segmentation

    return fit_segmentation(workspace, root, request)


def _is_free(out: Path) -> bool:
    with disk_errors(out):
        return not out.exists() or (out.is_dir() and not any(out.iterdir()))
