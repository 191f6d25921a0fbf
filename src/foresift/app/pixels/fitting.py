"""Training of a segmentation model itself, and the generation folder that comes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foresift.app.generations.descent import other_target, register
from foresift.app.pixels.classes import classes_asked_for, labeled_regions
from foresift.app.pixels.images import Regions, UsableImages, usable_images
from foresift.app.pixels.learned import Units, learned_from, receipts_beside, units_of
from foresift.app.pixels.models import DenseModel
from foresift.app.pixels.training_request import (
    SegmentationRequest,
    SegmentationTrained,
    dense_transform,
    names_generation,
)
from foresift.app.training.fitting import COMPLETE
from foresift.app.training.request import looks_like_id, taken, work_folder
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import MissingExtraError, QuarantineError, UsageError
from foresift.core.generations import LOSS_PREDICTION
from foresift.core.masks import ClassCounts, MaskClasses
from foresift.core.samples import Quarantined
from foresift.core.segmentation import DenseTransform, SegmentationGeneration
from foresift.sources.segmentation import MaskedListing, masked_images
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation, read_segmentation
from foresift.training.segmentation_recipe import SegmentationRecipe

try:
    import torch

    from foresift.models.loss_map import check_watchable, with_loss_map
    from foresift.models.segmentation import Segmenter, build_segmenter, canonical_segmenter, load_encoder
    from foresift.models.segmentation_generations import load_segmenter, save_segmenter
    from foresift.training.masked_images import MaskedImages
    from foresift.training.segmentation import evaluate_segmenter, measure_each, train_segmenter
    from foresift.training.segmentation_metrics import segmentation_metrics
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("training", "vision") from error

if TYPE_CHECKING:
    from torch import nn

    from foresift.training.supervised import TrainResult


@dataclass(frozen=True, slots=True)
class _Start:
    """Where training starts from."""

    architecture: str
    transform: DenseTransform
    parent: Path | None
    held: SegmentationGeneration | None
    """The record of the parent."""

    @property
    def model(self) -> DenseModel | None:
        """The parent, if there is one."""
        if self.parent is None or self.held is None:
            return None
        return DenseModel(folder=self.parent, generation=self.held)


def fit_segmentation(workspace: Workspace, root: str | Path, request: SegmentationRequest) -> SegmentationTrained:
    """The generation of a request; see :func:`foresift.app.pixels.train.train_segmentation`."""
    listing = masked_images(root, request.split, layout=request.layout)
    val = masked_images(root, request.val_split, layout=request.layout) if request.val_split else None
    if request.labels is not None:
        regions = labeled_regions(request.labels, listing.images)
        return fit_listing(workspace, listing, request, regions=regions, val=val)
    kept = receipts_beside(root)
    units = None if kept is None else units_of(kept)
    return fit_listing(workspace, listing, replace(request, labels=kept), units=units, val=val)


def fit_listing(
    workspace: Workspace,
    listing: MaskedListing,
    request: SegmentationRequest,
    *,
    regions: Regions | None = None,
    units: Units | None = None,
    val: MaskedListing | None = None,
    accept: Callable[[Sequence[Quarantined]], None] = lambda _broken: None,
) -> SegmentationTrained:
    """The generation of a request on images and masks that are listed already.

    Args:
        request: its labels file is looked at for receipts alone.
        regions: what of the images is labeled; None = all of all.
        units: what was chosen of the images, where that has other ids than their contents and the regions give.
        val: to measure on.
        accept: told before training what can't be used; may raise.
    Raises:
        as :func:`foresift.app.pixels.train.train_segmentation`.
    """
    recipe = SegmentationRecipe.from_dict(request.recipe)
    start = _start(workspace, request)
    if recipe.loss_prediction:
        check_watchable(start.architecture)
    asked = classes_asked_for(listing, request, held=start.held)
    images = usable_images(listing, asked, start.transform, regions=regions, progress=request.progress)
    accept(images.quarantined)
    measured_on = None if val is None else usable_images(val, asked, start.transform, progress=request.progress)
    trained = _fit(workspace, request, recipe, start, images, measured_on)
    kept = register(workspace, trained, learned_from(images, units), request, parent=start.model)
    return replace(trained, notes=(*trained.notes, *other_target(kept, request.heritage)))


def check_segmenter(workspace: Workspace, model: str, *, recipe: Mapping[str, Any]) -> None:
    """Refuse what can't be trained by a recipe, before anything is asked or trained.

    Raises:
        UsageError: no such architecture; the nearest one is named.
        ModelError: no such generation, a classifier, or a network whose loss can't be predicted where it should be.
    """
    known = names_generation(model)
    name = read_segmentation(workspace.generation_folder(model)).architecture if known else canonical_segmenter(model)
    if recipe.get("loss_prediction"):
        check_watchable(name)


def _fit(
    workspace: Workspace,
    request: SegmentationRequest,
    recipe: SegmentationRecipe,
    start: _Start,
    images: UsableImages,
    val: UsableImages | None,
) -> SegmentationTrained:
    quarantined = _distinct(images, val)
    if request.strict and quarantined:
        raise QuarantineError(f"--strict: {quarantined[0].uri}: {quarantined[0].reason}")
    record = _record(request, start, images, val, recipe)
    if (held := _held(workspace, request.out, record)) is not None:
        notes = (*images.notes, COMPLETE)
        return SegmentationTrained(generation=held, folder=request.out, quarantined=quarantined, notes=notes)
    network = _network(start, images.classes, request)
    trainee, parts = _trainee(network, recipe, seed=request.seed)
    work = work_folder(request.out)
    with disk_errors(work):
        result = train_segmenter(
            trainee,
            _as_training(images),
            pixels=images.pixels,
            recipe=recipe,
            seed=request.seed,
            folder=work,
            val=None if val is None else _as_training(val),
            progress=request.progress,
        )
    return SegmentationTrained(
        generation=_save(workspace, request.out, network, record, _metrics(network, val, result), work, parts),
        folder=request.out,
        quarantined=quarantined,
        notes=(*images.notes, *_absent(images), *_unpaired(images, recipe)),
        resumed_from=result.resumed_from,
        images_per_s=(result.epochs - result.resumed_from) * len(images) / result.seconds,
    )


def measured(network: Segmenter, images: UsableImages) -> dict[str, Any]:
    """Metrics of a network against the masks in their own size."""
    classes = len(images.classes.classes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    counts = evaluate_segmenter(network.to(device), _as_training(images), images.truth, classes=classes)
    network.cpu()
    return {"n": len(images), **segmentation_metrics(counts)}


def measured_each(network: Segmenter, images: UsableImages) -> ClassCounts:
    """What a network gets of each image, against the masks in their own size."""
    classes = len(images.classes.classes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return measure_each(network.to(device), _as_training(images), images.truth, classes=classes)


def _start(workspace: Workspace, request: SegmentationRequest) -> _Start:
    if not names_generation(request.model):
        return _Start(canonical_segmenter(request.model), dense_transform(request.image_size), None, None)
    if request.weights is not None:
        raise UsageError("--weights fills the encoder of an architecture, not of a generation")
    folder = workspace.generation_folder(request.model)
    held = read_segmentation(folder)
    if request.image_size and dense_transform(request.image_size).target(1, 1) != held.transform.target(1, 1):
        raise UsageError(f"{request.model} was trained at another size; leave --image-size out")
    return _Start(held.architecture, held.transform, folder, held)


def _network(start: _Start, classes: MaskClasses, request: SegmentationRequest) -> Segmenter:
    if start.parent is not None and start.held is not None:
        return load_segmenter(start.parent, start.held)
    network = build_segmenter(start.architecture, classes=len(classes.classes), seed=request.seed)
    if request.weights is not None:
        load_encoder(network, request.weights)
    return network


def _trainee(network: Segmenter, recipe: SegmentationRecipe, *, seed: int) -> tuple[nn.Module, dict[str, nn.Module]]:
    """What is trained, and the parts of it that are kept beside the network."""
    if not recipe.loss_prediction:
        return network, {}
    watched = with_loss_map(network, seed=seed)
    return watched, {LOSS_PREDICTION: watched.module}


def _as_training(images: UsableImages) -> MaskedImages:
    return MaskedImages(images.pair, len(images), images.transform, identity=images.version)


def _metrics(network: Segmenter, val: UsableImages | None, result: TrainResult) -> dict[str, Any]:
    last = {"last_epoch": dict(result.metrics)}
    return last if val is None else {**last, "val": measured(network, val)}


def _record(
    request: SegmentationRequest,
    start: _Start,
    images: UsableImages,
    val: UsableImages | None,
    recipe: SegmentationRecipe,
) -> dict[str, Any]:
    """What decides the weights, and is known before there are any."""
    data: dict[str, Any] = {
        "pool": images.name,
        "version": images.version,
        "labeled": len(images),
        "pixels": list(images.pixels),
    }
    if images.regions is not None:
        data["regions"] = sum(map(len, images.regions.values()))
    if val is not None:
        data["val"] = {"pool": val.name, "version": val.version, "labeled": len(val)}
    return {
        "architecture": start.architecture,
        "classes": images.classes,
        "transform": start.transform,
        "parent": None if start.held is None else start.held.id,
        "data": data,
        "recipe": {**recipe.to_dict(), "start": _started_from(request)},
        "seed": request.seed,
    }


def _started_from(request: SegmentationRequest) -> str:
    """What the record says of the initial weights."""
    if request.weights is not None:
        with disk_errors(request.weights):
            digest = digest_bytes(request.weights.read_bytes())[:12]
        return f"encoder from weights file {request.weights.name} ({digest})"
    scratch = not (os.sep in request.model or looks_like_id(request.model))
    return "from scratch" if scratch else request.model


def _held(workspace: Workspace, out: Path, record: Mapping[str, Any]) -> SegmentationGeneration | None:
    """The generation of this very record if the folder holds it already, cleaned up after and noted.

    Raises:
        ModelError: the folder holds another one.
    """
    if not is_generation(out):
        return None
    held = read_segmentation(out)
    if any(
        (held.mask_classes if name == "classes" else getattr(held, name)) != value for name, value in record.items()
    ):
        raise taken(out)
    _conclude(workspace, held, out)
    return held


def _save(
    workspace: Workspace,
    out: Path,
    network: Segmenter,
    record: Mapping[str, Any],
    metrics: Mapping[str, Any],
    work: Path,
    parts: Mapping[str, nn.Module],
) -> SegmentationGeneration:
    log = {path.name: path for path in work.glob("metrics.csv")}
    with disk_errors(out):
        generation = save_segmenter(out, network, **record, metrics=metrics, files=log, parts=parts)
    _conclude(workspace, generation, out)
    return generation


def _conclude(workspace: Workspace, generation: SegmentationGeneration, out: Path) -> None:
    """What is left to do once a generation is whole; a killed call's repetition does it."""
    workspace.note_generation(generation, out)
    work = work_folder(out)
    with disk_errors(work):
        if work.is_dir():
            shutil.rmtree(work)


def _absent(images: UsableImages) -> tuple[str, ...]:
    absent = [images.classes.classes[code] for code in np.flatnonzero(np.array(images.pixels) == 0).tolist()]
    shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    return (f"no pixel to learn from: {shown}",) if absent else ()


def _unpaired(images: UsableImages, recipe: SegmentationRecipe) -> tuple[str, ...]:
    alone = recipe.loss_prediction and len(images) < 2
    return ("the loss-prediction module learned nothing: it ranks pairs of images, and there is one",) if alone else ()


def _distinct(images: UsableImages, val: UsableImages | None) -> tuple[Quarantined, ...]:
    """Each broken file once, also where training and validation images overlap."""
    return tuple(dict.fromkeys((*images.quarantined, *(() if val is None else val.quarantined))))
