"""What a training is asked for and gives back, and whether its folder is free."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.core.digests import digest_bytes
from foresift.core.errors import ModelError
from foresift.core.generations import Generation
from foresift.core.lineage import ALIASES, Heritage
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Quarantined
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train; names follow the command line."""

    model: str
    """An architecture, or a generation to start from; ``custom`` for a module of the user's own."""
    out: Path
    module: nn.Module | None = None
    """The user's own network, trained in place: for ``custom`` its last layer is as wide as there are classes;
    else ``model`` names the generation that was made from it and whose weights it is filled with."""
    labels: Path | None = None
    subset: Path | None = None
    """Train on these samples alone: a manifest of ``foresift search``."""
    val: str | None = None
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    """Class names in order; by default the sorted labels."""
    weights: Path | None = None
    """A state dict to start from: ``.safetensors``, or ``.pt`` of plain tensors."""
    pretrained: bool = False
    """Start from timm's published weights."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`foresift.training.Recipe` that were asked for; others get defaults."""
    seed: int = 0
    heritage: Heritage = field(default_factory=Heritage)
    """What is known of where the labels come from, and where the generation is to run."""
    progress: Progress = field(default_factory=Silent)
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A new generation and what happened on the way."""

    generation: Generation
    folder: Path
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    resumed_from: int = 0
    """Epochs that an earlier, interrupted call had done."""


def work_folder(out: Path) -> Path:
    """Where an unfinished run keeps its checkpoints."""
    return out.with_name(out.name + ".training")


def started_from(request: TrainRequest) -> str:
    """What the record says of the initial weights."""
    if request.weights is not None:
        with disk_errors(request.weights):
            return f"weights file {request.weights.name} ({digest_bytes(request.weights.read_bytes())[:12]})"
    return "published weights" if request.pretrained else request.model


def taken(out: Path) -> ModelError:
    """The error that a folder is not free, saying what it holds."""
    what = "is a file" if not out.is_dir() else "holds other files"
    if is_generation(out):
        left = work_folder(out)
        what = "holds a generation already" + (f" ({left} is left over from it)" if left.is_dir() else "")
    return ModelError(f"{out} {what}; choose a new folder (nothing was overwritten)")


def looks_like_id(text: str) -> bool:
    """Whether ``--model`` could be an alias or the id of a generation, or its beginning."""
    return text in ALIASES or (len(text) >= 8 and all(c in "0123456789abcdef" for c in text))


def is_free(out: Path) -> bool:
    """Whether a generation may be written there: nothing, or an empty folder."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))
