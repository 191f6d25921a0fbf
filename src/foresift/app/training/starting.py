"""Where training starts from: a generation, an architecture or a module, and for which classes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foresift.app.models.opening import Model, open_model
from foresift.app.training.images import common_side
from foresift.app.training.request import TrainRequest, looks_like_id
from foresift.app.workspace import Workspace
from foresift.core.errors import LabelError, MissingExtraError, UnknownNameError, UsageError
from foresift.core.generations import Transform
from foresift.core.samples import Pool
from foresift.stores.generations import read_generation
from foresift.training import Recipe

try:
    from foresift.models import build, canonical, replace_head
    from foresift.models import weights as weight_files
    from foresift.models.registry import ARCHITECTURES, CUSTOM, pretrained_transform
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("training", "vision") from error

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SIZE = 224
_OWN_DEFAULT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Start:
    """Where training starts from."""

    architecture: str
    classes: tuple[str, ...]
    transform: Transform
    network: nn.Module
    parent: Model | None


def start_of(workspace: Workspace, pool: Pool, request: TrainRequest, *, head: bool) -> Start:
    """The network to train on the labels of ``pool``.

    Args:
        head: whether the last layer is made anew, so that a generation may get other classes.
    Raises:
        UsageError: options that make no sense together.
        LabelError: fewer than two classes, or labels that the generation does not know.
        ModelError: no such generation, or weights that do not fit.
    """
    parent = parent_of(workspace, request)
    classes = _classes(pool, request, parent, head=head)
    if parent is not None:
        return _from_parent(request, parent, classes)
    if request.module is not None:
        transform = Transform(size=request.image_size or common_side(pool) or DEFAULT_SIZE)
        return Start(CUSTOM, classes, transform, request.module, None)
    return _from_architecture(pool, request, classes)


def parent_of(workspace: Workspace, request: TrainRequest) -> Model | None:
    """The generation to start from, if ``--model`` names one rather than an architecture."""
    if request.module is not None and request.model == CUSTOM:
        return None
    if request.module is not None or names_generation(request.model):
        if request.weights or request.pretrained:
            raise UsageError("--weights and --pretrained start from an architecture, not from a generation")
        return open_model(workspace, request.model, module=request.module)
    return None


def names_generation(model: str) -> bool:
    """Whether ``--model`` is a folder or id; a name of both a folder and an architecture is the architecture's.

    Raises:
        UnknownNameError: neither; told before any image is read.
    """
    if os.sep in model:
        return True
    try:
        canonical(model)
    except UnknownNameError:
        if looks_like_id(model) or Path(model).is_dir():
            return True
        raise
    return False


def check_model(workspace: Workspace, name: str) -> None:
    """Refuse what names neither an architecture nor a generation, before anything is asked, bought or trained.

    Raises:
        UnknownNameError: no such architecture; the nearest one is named.
        ModelError: no such generation.
    """
    if names_generation(name):
        read_generation(workspace.generation_folder(name))


def _classes(pool: Pool, request: TrainRequest, parent: Model | None, *, head: bool) -> tuple[str, ...]:
    used = tuple(pool.classes[code] for code in np.unique(pool.codes[pool.labeled]).tolist())
    if parent is not None and not head and parent.generation.has_head:
        known = parent.generation.classes
        if request.classes and request.classes != known:
            raise UsageError(
                f"--classes differs from the classes of {request.model}; use --train head for other classes"
            )
        if extra := [name for name in used if name not in known]:
            raise LabelError(
                f"labels {', '.join(extra[:5])} are none of the classes of {request.model} ({', '.join(known[:10])}); "
                "train a new head with --train head, or another model"
            )
        return known
    classes = request.classes or (used if request.subset is None else pool.classes)
    if len(classes) < 2:
        have = f"only {used[0]!r}" if used else "none"
        raise LabelError(f"training needs labels of at least 2 classes, {pool.name} has {have}; give more or --classes")
    return classes


def _from_parent(request: TrainRequest, parent: Model, classes: tuple[str, ...]) -> Start:
    known = parent.generation
    if request.image_size not in (None, known.transform.size):
        raise UsageError(f"{request.model} was trained at {known.transform.size} px; leave --image-size out")
    network = parent.network()
    if not known.has_head:
        network = replace_head(network, _fresh_head(known.embedding_width, len(classes), seed=request.seed))
    return Start(known.architecture, classes, known.transform, network, parent)


def _fresh_head(width: int, classes: int, *, seed: int) -> nn.Module:
    """An untrained last layer for a backbone that was trained without labels."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Linear(width, classes)


def _from_architecture(pool: Pool, request: TrainRequest, classes: tuple[str, ...]) -> Start:
    transform = _first_transform(pool, request)
    network = build(
        request.model, classes=len(classes), image_size=transform.size, pretrained=request.pretrained, seed=request.seed
    )
    if request.weights is not None:
        weight_files.load(network, request.weights)
    return Start(canonical(request.model), classes, transform, network, None)


def _first_transform(pool: Pool, request: TrainRequest) -> Transform:
    if not request.pretrained:
        return Transform(size=request.image_size or default_size(request.model, pool))
    published = pretrained_transform(request.model)
    return replace(published, size=request.image_size or published.size)


def default_size(model: str, pool: Pool) -> int:
    """Small square images keep their size in our small networks; everything else is 224 px."""
    if canonical(model).partition("+")[0].partition(":")[0] not in ARCHITECTURES:
        return DEFAULT_SIZE
    return common_side(pool) or _OWN_DEFAULT_SIZE


def with_defaults(request: TrainRequest, start: Start) -> Recipe:
    """The recipe, its augmentation chosen by image size unless asked for."""
    size = start.transform.size
    augment = "shift" if size <= 16 else "flip-crop" if size <= 96 else "random-resized-crop"
    return Recipe.from_dict({"augment": augment, **request.recipe})
