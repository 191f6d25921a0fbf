"""``foresift evaluate`` for a segmentation model: intersection over union on images with masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresift.app.pixels.classes import refuse_other_classes
from foresift.app.pixels.images import usable_images
from foresift.app.workspace import Workspace
from foresift.core.errors import QuarantineError
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Quarantined
from foresift.sources.segmentation import MaskedListing, masked_images
from foresift.stores.ensembles import ensemble_file
from foresift.stores.generations import is_generation, is_segmentation, read_segmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationEvaluated:
    """Metrics of a segmentation model on images with masks."""

    metrics: dict[str, Any]
    """As :func:`foresift.training.segmentation_metrics.segmentation_metrics`, and ``n`` images."""
    classes: tuple[str, ...]
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()


def is_segmentation_model(workspace: Workspace, model: str | Path) -> bool:
    """Whether a folder or id names a segmentation model; the members of an ensemble are classifiers."""
    if ensemble_file(model) is not None:
        return False
    folder = Path(model).expanduser()
    return is_segmentation(folder if is_generation(folder) else workspace.generation_folder(model))


def evaluate_segmentation(
    workspace: Workspace,
    root: str | Path,
    model: str | Path,
    *,
    split: str = "",
    layout: str = "auto",
    strict: bool = False,
    progress: Progress | None = None,
) -> SegmentationEvaluated:
    """Mean and per-class intersection over union and pixel accuracy, at the masks' own size.

    Raises:
        LabelError: the data's layout has other classes than the model.
        DataError: no images with masks, or none that can be used.
        ModelError: no such model.
    """
    listing = masked_images(root, split, layout=layout)
    return evaluate_listing(workspace, listing, model, strict=strict, progress=progress)


def evaluate_listing(
    workspace: Workspace,
    listing: MaskedListing,
    model: str | Path,
    *,
    strict: bool = False,
    accept: Callable[[Sequence[Quarantined]], None] = lambda _broken: None,
    progress: Progress | None = None,
) -> SegmentationEvaluated:
    """The same on images and masks that are listed already; raises as :func:`evaluate_segmentation`.

    Args:
        accept: told before anything is measured what can't be used; may raise.
    """
    folder = workspace.generation_folder(model)
    generation = read_segmentation(folder)
    refuse_other_classes(listing.classes, generation.mask_classes, str(model))
    images = usable_images(listing, generation.mask_classes, generation.transform, progress=progress or Silent())
    if strict and images.quarantined:
        raise QuarantineError(f"--strict: {images.quarantined[0].uri}: {images.quarantined[0].reason}")
    accept(images.quarantined)
    from foresift.app.pixels.fitting import measured
    from foresift.models.segmentation_generations import load_segmenter

    metrics = measured(load_segmenter(folder, generation), images)
    return SegmentationEvaluated(
        metrics=metrics, classes=generation.classes, quarantined=images.quarantined, notes=images.notes
    )
