"""``foresift adopt``: a trained network from elsewhere becomes a generation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foresift.app.workspace import Workspace
from foresift.core.errors import MissingExtraError, UsageError
from foresift.core.generations import Generation, Transform

try:
    from foresift.models import build, canonical, save_generation
    from foresift.models import weights as weight_files
    from foresift.models.registry import CUSTOM
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("adopting a network", "vision") from error

if TYPE_CHECKING:
    from torch import nn


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
        pretrained: take timm's published weights instead.
    Raises:
        UsageError: neither or both of weights and ``pretrained``; fewer than 2 classes.
        ModelError: the tensors do not fit the architecture, or the file is not safe to load.
    """
    if (weights is None) == (not pretrained):
        raise UsageError("give either WEIGHTS or --pretrained")
    network = build(model, classes=len(classes), image_size=transform.size, pretrained=pretrained, seed=0)
    if weights is not None:
        weight_files.load(network, weights)
    start = f"weights file {weights.name}" if weights is not None else "published weights"
    return _save(workspace, network, canonical(model), classes, transform, out, start)


def adopt_module(
    workspace: Workspace, module: nn.Module, *, classes: Sequence[str], transform: Transform, out: Path
) -> Generation:
    """A generation folder from a user's own trained module; it is needed again to use the folder.

    Args:
        module: (b, 3, s, s) normalised images -> (b, c) logits; its last ``nn.Linear`` is the head.
    Raises:
        ModelError: no linear layer at the end, or weights that are not finite.
    """
    return _save(workspace, module, CUSTOM, classes, transform, out, "a module")


def _save(
    workspace: Workspace,
    network: nn.Module,
    architecture: str,
    classes: Sequence[str],
    transform: Transform,
    out: Path,
    start: str,
) -> Generation:
    generation = save_generation(
        out,
        network,
        architecture=architecture,
        classes=tuple(classes),
        transform=transform,
        recipe={"start": start, "train": "none"},
    )
    workspace.note_generation(generation, out)
    return generation
