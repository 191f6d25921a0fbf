"""Which of two segmentation models is better on the same images and masks: the gate of their promotions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from foresift.app.generations.judging import Contender, EvaluationSet, folder_there
from foresift.app.pixels.classes import refuse_other_classes
from foresift.app.pixels.images import UsableImages, usable_images
from foresift.app.pixels.models import DenseModel
from foresift.core.errors import DataError, ForesiftError, LabelError, NotBetterError
from foresift.core.masks import ClassCounts, MaskClasses
from foresift.core.protocols import Progress
from foresift.lineage.mask_promotion import LEAST, MaskDuel, mask_duel, mean_iou
from foresift.sources.segmentation import MaskedListing, masked_images
from foresift.stores.generations import read_segmentation


def judge_masks(
    new: Contender, holder: Contender | None, on: EvaluationSet, *, progress: Progress
) -> tuple[dict[str, Any], ForesiftError | None]:
    """As :func:`foresift.app.generations.judging.judge`, of segmentation models by their mean intersection over union.

    The new generation may take the place if the whole 95 % interval of the difference lies above 0.

    Args:
        holder: of the place; None = it is free.
    Returns:
        Name and version of the images, how many of them can't be used and the first of these, the mIoU and the
        comparison, as far as they could be measured; None or :class:`NotBetterError` or why something could not be
        measured.
    Raises:
        DataError: no images with masks there.
        UsageError: no such split.
    """
    listing = masked_images(on.data, on.split)
    told: dict[str, Any] = {"name": on.name or listing.name}
    try:
        mine = _opened(new)
        classes = mine.generation.mask_classes
        refuse_other_classes(listing.classes, classes, f"generation {new.generation[:12]}")
        images = _images(listing, mine, classes, progress)
        told |= _left_out(images)
        seen = _measured(mine, images)
        told |= {"version": images.version, "n": len(images), "miou": float(mean_iou(seen.sum(axis=0)))}
        if holder is None:
            return told, None
        theirs = _opened(holder)
        _refuse_other(mine, theirs)
        others = _images(listing, theirs, classes, progress)
        found = _compared(images, seen, others, _measured(theirs, others))
    except ForesiftError as error:
        return told, error
    told |= {"compared_with": holder.generation, **asdict(found), "difference": found.difference}
    told |= {"rarest": classes.classes[found.rarest], **_left_out(images, others)}
    if found.beats:
        return told, None
    beaten = f"generation {new.generation[:12]} does not beat {holder.generation[:12]}"
    return told, NotBetterError(f"{beaten}: {sentence(found, told)}")


def sentence(found: MaskDuel, told: dict[str, Any]) -> str:
    """The comparison in words."""
    left_out = f"; {words}" if (words := left_out_in_words(told)) else ""
    needed = _needed(found, told)
    return (
        f"mIoU {found.difference:+.1%} on {told['name']} (95 % interval {found.low:+.1%} to {found.high:+.1%} over "
        f"{found.n:,} images, p = {found.p:.3g}{left_out}); {needed}, --force promotes it and records that"
    )


def left_out_in_words(told: dict[str, Any]) -> str:
    """How many images could not be used, and the first one; "" if all could."""
    if not told.get("left_out"):
        return ""
    return f"{told['left_out']:,} more can't be used, the first, {told['first_left_out']}"


def _needed(found: MaskDuel, told: dict[str, Any]) -> str:
    if found.n < LEAST:
        return f"{LEAST} images or more decide"
    if found.showing < LEAST:
        return f"only {found.showing:,} of them show {told['rarest']!r}, and {LEAST} or more with each class decide"
    return "more images narrow the interval"


def _left_out(*read: UsableImages) -> dict[str, Any]:
    """How many images one of the models can't be measured on, and the first one and why."""
    reasons = {one.uri: one.reason for images in read for one in (*images.quarantined, *images.contradicting)}
    first = next(iter(reasons.items()), None)
    return {"left_out": len(reasons), **({} if first is None else {"first_left_out": ": ".join(first)})}


def _opened(one: Contender) -> DenseModel:
    folder = folder_there(one)
    return DenseModel(folder=folder, generation=read_segmentation(folder))


def _refuse_other(mine: DenseModel, theirs: DenseModel) -> None:
    """Raise :class:`LabelError` for models whose mIoU are means over different classes."""
    one, other = (model.generation for model in (mine, theirs))
    if (one.classes, one.values) != (other.classes, other.values):
        raise LabelError(
            f"generation {one.id[:12]} tells apart {', '.join(one.classes[:10])}, and {other.id[:12]} "
            f"{', '.join(other.classes[:10])}: their mIoU are of different classes; --force promotes it all the same"
        )


def _images(listing: MaskedListing, model: DenseModel, classes: MaskClasses, progress: Progress) -> UsableImages:
    return usable_images(listing, classes, model.generation.transform, progress=progress)


def _measured(model: DenseModel, images: UsableImages) -> ClassCounts:
    from foresift.app.pixels.fitting import measured_each
    from foresift.models.segmentation_generations import load_segmenter

    return measured_each(load_segmenter(model.folder, model.generation), images)


def _compared(images: UsableImages, seen: ClassCounts, others: UsableImages, theirs: ClassCounts) -> MaskDuel:
    """By the images that both can use."""
    _, rows, at = np.intersect1d(images.images, others.images, assume_unique=True, return_indices=True)
    if not len(rows):
        raise DataError("the two models share no image that both can read")
    return mask_duel(seen[rows], theirs[at])
