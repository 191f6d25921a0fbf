"""What a training on masks is asked for and gives back, and how its options are spelled."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foresift.app.training.request import looks_like_id
from foresift.core.errors import ModelError, UsageError
from foresift.core.lineage import Heritage
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Quarantined
from foresift.core.segmentation import DenseTransform, SegmentationGeneration
from foresift.stores.generations import is_generation


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationRequest:
    """What to train; names follow the command line."""

    model: str
    """HEAD:ENCODER, or a generation to start from."""
    out: Path
    split: str = ""
    val_split: str = ""
    """A split of the same root to measure on."""
    layout: str = "auto"
    image_size: str = ""
    """``WIDTHxHEIGHT``, a share such as ``50%``, or "" = images keep their sizes."""
    classes: str = ""
    """A file of names, a number, or names with commas; "" = as the layout says, else the values that occur."""
    ignore_index: tuple[int, ...] | None = None
    """Mask values that do not count; None = as the layout says, else none."""
    labels: Path | None = None
    """Which regions of which images are labeled; None = all of all."""
    weights: Path | None = None
    """Weights of the encoder to start from."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`foresift.training.segmentation_recipe.SegmentationRecipe` that were asked for."""
    seed: int = 0
    heritage: Heritage = field(default_factory=Heritage)
    """What is known of where the masks come from, and where the generation is to run."""
    progress: Progress = field(default_factory=Silent)
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationTrained:
    """A new generation and what happened on the way."""

    generation: SegmentationGeneration
    folder: Path
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    resumed_from: int = 0
    """Epochs that an earlier, interrupted call had done."""
    images_per_s: float | None = None
    """Of the training steps; None if nothing was trained."""


def names_generation(model: str) -> bool:
    """Whether a model's name is the folder or id of a generation, and none of an architecture."""
    return os.sep in model or looks_like_id(model) or is_generation(Path(model))


def dense_transform(image_size: str) -> DenseTransform:
    """The transform that ``--image-size`` asks for.

    Raises:
        UsageError: neither ``WIDTHxHEIGHT`` nor a share.
    """
    if not image_size:
        return DenseTransform()
    try:
        if image_size.endswith("%"):
            return DenseTransform(scale=float(image_size[:-1]) / 100)
        return DenseTransform(size=sides_of("--image-size", image_size))
    except (ValueError, ModelError):
        raise UsageError(f"--image-size {image_size}: expected WIDTHxHEIGHT such as 240x180, or 50%") from None


def sides_of(option: str, text: str | None) -> tuple[int, int] | None:
    """(height, width) of ``WIDTHxHEIGHT``; None = not given.

    Raises:
        UsageError: something else.
    """
    if text is None:
        return None
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"{option} {text}: expected WIDTHxHEIGHT, such as 240x180")
    return int(height), int(width)


def mask_numbers(text: str | None) -> tuple[int, ...] | None:
    """The values of ``--ignore-index``: one, several with commas, or ``none``.

    Raises:
        UsageError: something else.
    """
    if text is None:
        return None
    try:
        return () if text == "none" else tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(
            f"--ignore-index {text}: expected a mask value such as 255, several with commas, or none"
        ) from None
