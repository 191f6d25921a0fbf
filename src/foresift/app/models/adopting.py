"""``foresift adopt``: a trained network from elsewhere becomes a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.workspace import Workspace
from foresift.core.errors import MissingExtraError, UsageError
from foresift.core.generations import Generation, Transform

try:
    from foresift.models import build, canonical, save_generation
    from foresift.models import weights as weight_files
    from foresift.models.registry import CUSTOM, pretrained_head_is_kept, pretrained_transform
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("adopting a network", "vision") from error

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SIZE = 224
UNTRAINED = {"last_layer": "untrained"}
"""In the recipe of a generation whose logits mean nothing until a head is trained."""


def adopted_transform(model: str, *, pretrained: bool, changes: Mapping[str, Any]) -> Transform:
    """The transform of the published weights, or of a weights file (224 px, ImageNet's), with some fields changed.

    Args:
        changes: fields of :class:`~foresift.core.generations.Transform` that were asked for.
    Raises:
        UsageError: a crop share for images that are not cropped.
        ModelError: values out of range, or no published weights of ``model``.
    """
    base = pretrained_transform(model) if pretrained else Transform(size=DEFAULT_SIZE)
    transform = replace(base, **changes)
    if "crop_share" in changes and transform.resize != "crop":
        raise UsageError("--crop-share needs --resize crop")
    return transform


def adopt_weights(
    workspace: Workspace,
    weights: Path | None,
    *,
    model: str,
    classes: Sequence[str],
    transform: Transform,
    out: Path,
    pretrained: bool = False,
) -> Generation:
    """A generation folder from a state dict and the architecture that it fits.

    Args:
        weights: ``.safetensors``, or ``.pt`` that holds nothing but tensors; None with ``pretrained``.
        classes: c names, in the order of the logits.
        pretrained: take timm's published weights instead; their last layer too if it has as many classes,
            else the record's recipe says that the last layer is untrained.
    Raises:
        UsageError: neither or both of weights and ``pretrained``; fewer than 2 classes.
        ModelError: the tensors do not fit the architecture, or the file is not safe to load.
    """
    if (weights is None) == (not pretrained):
        raise UsageError("give either WEIGHTS or --pretrained")
    network = build(model, classes=len(classes), image_size=transform.size, pretrained=pretrained, seed=0)
    if weights is not None:
        weight_files.load(network, weights)
    recipe = {"start": f"weights file {weights.name}" if weights is not None else "published weights"}
    if pretrained and not pretrained_head_is_kept(model, classes=len(classes)):
        recipe |= UNTRAINED
    return _save(workspace, network, canonical(model), classes, transform, out, recipe)


def adopt_module(
    workspace: Workspace, module: nn.Module, *, classes: Sequence[str], transform: Transform, out: Path
) -> Generation:
    """A generation folder from a user's own trained module; it is needed again to use the folder.

    Args:
        module: (b, 3, s, s) normalised images -> (b, c) logits; its last ``nn.Linear`` is the head.
    Raises:
        ModelError: no linear layer at the end, or weights that are not finite.
    """
    return _save(workspace, module, CUSTOM, classes, transform, out, {"start": "a module"})


def _save(
    workspace: Workspace,
    network: nn.Module,
    architecture: str,
    classes: Sequence[str],
    transform: Transform,
    out: Path,
    recipe: Mapping[str, str],
) -> Generation:
    generation = save_generation(
        out,
        network,
        architecture=architecture,
        classes=tuple(classes),
        transform=transform,
        recipe={**recipe, "train": "none"},
    )
    workspace.note_generation(generation, out)
    return generation
