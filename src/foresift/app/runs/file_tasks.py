"""What a run file means by the task of its pool, classes or masks of images, and the keys that only one of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.runs.file_values import FOLDERS
from foresift.core.errors import ModelError, UnknownNameError, UsageError
from foresift.core.oracles import CLASSIFICATION, SEGMENTATION
from foresift.scores.dense import PIXEL_SCORES
from foresift.sources.addresses import is_remote
from foresift.sources.segmentation import holds_masks
from foresift.training import Recipe
from foresift.training.segmentation_recipe import SegmentationRecipe

if TYPE_CHECKING:
    from foresift.app.runs.files import RunFile

FILES = "files"
"""The oracle that takes what is dropped into a folder."""


def task_of(run: RunFile) -> str:
    """What is labeled where the file does not say it.

    Masks where the pool holds masks beside its images, unless the oracle is one that brings classes and no key
    speaks of masks.
    """
    masked = not is_remote(run.pool) and holds_masks(Path(run.pool))
    return SEGMENTATION if masked and (_brings_masks(run) or _said_of_masks(run)) else CLASSIFICATION


def refuse_for_task(run: RunFile) -> None:
    """Raise :class:`UsageError` for what the other task takes, or this one can't do yet."""
    if run.has_masks:
        _refuse_for_masks(run)
    else:
        _refuse_for_classes(run)


def _brings_masks(run: RunFile) -> bool:
    return run.oracle.partition(":")[0] in (FOLDERS, FILES)


def _said_of_masks(run: RunFile) -> list[str]:
    """The keys given that only labels that are masks have."""
    given = {
        "split": bool(run.split),
        "ignore_index": run.ignore_index is not None,
        "aggregate": run.aggregate is not None,
        "unit": run.unit != "image",
        "patch": run.patch is not None,
    }
    return [key for key, there in given.items() if there]


def _refuse_for_classes(run: RunFile) -> None:
    if masks_only := _said_of_masks(run):
        raise UsageError(
            f"{masks_only[0]} is for labels that are masks (task: {SEGMENTATION}); leave it out, or give a pool of "
            "images/ and masks/"
        )
    if isinstance(run.image_size, str):
        raise UsageError(f"image_size: expected a side in pixels, got {run.image_size!r}")
    _refuse_unknown(run.recipe, Recipe)
    Recipe.from_dict(run.recipe)


def _refuse_for_masks(run: RunFile) -> None:
    if is_remote(run.pool):
        raise UsageError(f"images with masks must lie in a folder of this machine, got {run.pool}")
    if not _brings_masks(run):
        oracle = run.oracle.partition(":")[0]
        raise UsageError(f"oracle {oracle!r} brings classes; masks come by oracle: {FOLDERS} or oracle: {FILES}")
    if run.inherit:
        raise UsageError("labels of another run can be inherited where they are classes, masks can't yet; leave it out")
    if run.engine != "torch":
        raise UsageError(f"pixels are scored by torch in float32; leave engine: {run.engine} out")
    if run.guards.get("max_per_class") is not None:
        raise UsageError("guards: max_per_class needs one class an image, and a mask has many; leave it out")
    if run.guards.get("max_per_group") is not None:
        raise UsageError(
            "guards: max_per_group needs a table with groups, and pools with masks keep none; leave it out"
        )
    _refuse_pixels(run)
    _refuse_unknown(run.recipe, SegmentationRecipe)
    SegmentationRecipe.from_dict(run.recipe)


def _refuse_pixels(run: RunFile) -> None:
    """What a selection of pixels would refuse, in the words of a run file."""
    from foresift.app.pixels.request import Dense
    from foresift.app.pixels.strategies import reads_pixels
    from foresift.app.pixels.training_request import dense_transform

    if run.patch is not None and run.unit != "patch":
        raise UsageError("patch is the side of the units and goes with unit: patch")
    Dense(unit=run.unit, patch=run.patch, aggregate=run.aggregate)
    tried = run.strategies if run.tries and not run.control else [run.strategy]
    if run.aggregate is not None and not any(one == "auto" or reads_pixels(one) for one in tried):
        raise UsageError(
            f"aggregate goes with a score of pixels ({', '.join(PIXEL_SCORES)}), not with strategy: {run.strategy}"
        )
    _refuse_predicted_losses(run, tried)
    if run.image_size is not None:
        try:
            dense_transform(str(run.image_size))
        except (UsageError, ModelError):
            expected = "WIDTHxHEIGHT such as 240x180, or a share such as 50%"
            raise UsageError(f"image_size: with masks expected {expected}, got {run.image_size!r}") from None


def _refuse_predicted_losses(run: RunFile, tried: Sequence[str]) -> None:
    """A strategy that ranks by predicted losses, without models that predict those of what is chosen."""
    from foresift.strategies import parse

    asking = [one for one in tried if "predicted-loss" in parse(one).needs]
    if asking and run.unit == "patch":
        raise UsageError(f"strategy {asking[0]}: losses are predicted of whole images; leave unit: patch out")
    if asking and not run.recipe.get("loss_prediction"):
        raise UsageError(
            f"strategy {asking[0]} needs models that predict their loss; add loss_prediction: true to recipe"
        )


def _refuse_unknown(recipe: Mapping[str, Any], kind: type[Recipe | SegmentationRecipe]) -> None:
    """Raise for a field that such a recipe has not; the nearest one is named."""
    known = {f.name for f in fields(kind)}
    for name in recipe:
        if name not in known:
            raise UsageError(f"recipe: {UnknownNameError('field', name, known)}")
