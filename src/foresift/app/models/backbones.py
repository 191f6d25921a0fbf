"""Backbones as generations without a head: published ones, and those that a pool's own images teach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foresift.app.models.opening import open_model
from foresift.app.passes.embed_request import PRESETS, Backbone, EmbedRequest
from foresift.app.training.images import UnlabeledImages, common_side, unlabeled_images
from foresift.app.training.keeping import held, save
from foresift.app.training.request import work_folder
from foresift.app.training.starting import names_generation
from foresift.app.workspace import Workspace
from foresift.core.errors import MissingExtraError, QuarantineError, UsageError
from foresift.core.generations import Transform
from foresift.core.samples import Pool
from foresift.stores.files import disk_errors

try:
    from foresift.models import NO_HEAD_WIDTH, build, canonical, save_generation
    from foresift.models import Backbone as BackboneNetwork
    from foresift.models.generations import backbone_digest
    from foresift.models.registry import pretrained_transform
    from foresift.training import ArrayImages
    from foresift.training.self_supervised import SimClr, train_simclr
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("embedding", "vision") from error

if TYPE_CHECKING:
    from foresift.core.generations import Generation

TASK = "self-supervised"
COMPLETE = "this very backbone was trained already; nothing was trained"


def frozen_backbone(workspace: Workspace, request: EmbedRequest) -> Backbone:
    """A generation's backbone, or a published one as a generation of its own.

    Raises:
        ModelError: there are no published weights, or they can't be had here.
        UsageError: options that a generation has no use for.
    """
    name = str(request.model)
    if not names_generation(name):
        return Backbone(model=open_model(workspace, _published(workspace, name, request)))
    if request.save is not None or request.size is not None:
        raise UsageError(f"{name} is a generation already, with its own size; leave --save and --size out")
    return Backbone(model=open_model(workspace, name))


def taught_backbone(workspace: Workspace, pool: Pool, request: EmbedRequest) -> Backbone:
    """A backbone trained on the pool's images without labels; labels only watch the neighbours.

    Raises:
        ModelError: the folder holds something else.
        UsageError: fewer than two usable images, or a recipe out of range.
    """
    architecture, recipe = _architecture(request), _recipe(request)
    side = request.size or _side(pool, most=PRESETS[request.preset].size)
    progress = request.options.progress
    transform = Transform(size=side)
    images = unlabeled_images(pool, transform, crops=request.crops, seed=request.seed, progress=progress)
    if request.options.strict and images.quarantined:
        raise QuarantineError(f"--strict: {images.quarantined[0].uri}: {images.quarantined[0].reason}")
    record = _record(images, architecture, transform, recipe, seed=request.seed)
    folder = Path(str(request.save))
    if (known := held(workspace, folder, record)) is not None:
        return _found(workspace, folder, known, images)
    network = build(architecture, classes=NO_HEAD_WIDTH, image_size=side, seed=request.seed)
    work, labels = work_folder(folder), np.repeat(images.pool.codes, max(1, request.crops))
    with disk_errors(work):
        done = train_simclr(
            BackboneNetwork(network),
            _as_training(images),
            recipe=recipe,
            seed=request.seed,
            folder=work,
            labels=labels,
            progress=progress,
        )
    last = dict(done.history[-1])
    metrics = {"last_epoch": last, "epochs": len(done.history), "watched": int((labels >= 0).sum())}
    save(workspace, folder, network, record, metrics, files={"metrics.csv": work / "metrics.csv"})
    return Backbone(
        model=open_model(workspace, folder),
        trained=True,
        figures=last,
        epochs=len(done.history),
        resumed_from=done.resumed_from,
        quarantined=images.quarantined,
    )


def _found(workspace: Workspace, folder: Path, known: Generation, images: UnlabeledImages) -> Backbone:
    return Backbone(
        model=open_model(workspace, folder),
        figures=known.metrics["last_epoch"],
        epochs=known.metrics["epochs"],
        quarantined=images.quarantined,
        notes=(COMPLETE,),
    )


def _architecture(request: EmbedRequest) -> str:
    if request.model is None:
        return PRESETS[request.preset].architecture
    if names_generation(request.model):
        raise UsageError(
            f"--train begins with an untrained network: --model takes an architecture, not {request.model}"
        )
    return canonical(request.model)


def _recipe(request: EmbedRequest) -> SimClr:
    preset = PRESETS[request.preset]
    return SimClr(
        epochs=preset.epochs if request.epochs is None else request.epochs,
        batch_size=preset.batch_size,
        lr=preset.lr,
        views=request.views,
        patience=request.patience,
    )


def _side(pool: Pool, *, most: int) -> int:
    return min(common_side(pool) or most, most)


def _record(
    images: UnlabeledImages, architecture: str, transform: Transform, recipe: SimClr, *, seed: int
) -> dict[str, Any]:
    """What decides the weights, and is known before there are any."""
    pool = images.pool.without_labels()
    data: dict[str, Any] = {"pool": pool.name, "version": pool.version, "images": len(pool), "crops": images.crops}
    if recipe.patience:  # labels decide when the training ends
        data["watched"] = images.pool.version
    return {
        "architecture": architecture,
        "classes": (),
        "transform": transform,
        "parent": None,
        "data": data,
        "recipe": {**asdict(recipe), "task": TASK, "train": "simclr", "start": architecture},
        "seed": seed,
    }


def _as_training(images: UnlabeledImages) -> ArrayImages:
    identity = f"{images.pool.without_labels().version} {images.crops} {images.seed}"
    if images.pixels is not None:
        return ArrayImages.from_array(images.pixels, images.transform, identity=identity)
    load: Callable[[int], Any] = images.load
    return ArrayImages(load, len(images), images.transform, identity=identity)


def _published(workspace: Workspace, name: str, request: EmbedRequest) -> Path:
    """timm's published weights of an architecture as a generation without a head."""
    given = pretrained_transform(name)
    transform = Transform(**{**asdict(given), "size": request.size or given.size})
    network = build(name, classes=NO_HEAD_WIDTH, image_size=transform.size, pretrained=True, seed=0)
    architecture = canonical(name)
    digest = backbone_digest(network, architecture=architecture)
    stem = f"{architecture.replace(':', '-')}-{digest[:12]}-{transform.digest[:8]}-embeddings"
    folder = request.save or workspace.home / "backbones" / stem
    record: dict[str, Any] = {
        "architecture": architecture,
        "classes": (),
        "transform": transform,
        "recipe": {"start": "published weights", "train": "none"},
    }
    if held(workspace, folder, record) is None:
        generation = save_generation(folder, network, **record)
        workspace.note_generation(generation, folder)
    return folder
