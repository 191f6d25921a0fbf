"""``foresift train``: what is asked for, and what of it can be refused before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import ForesiftError, ModelError, UsageError
from foresift.core.generations import Generation
from foresift.core.lineage import ALIASES, Heritage
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Quarantined
from foresift.sources import open_source
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation, read_generation
from foresift.stores.subsets import read_subset
from foresift.training import Recipe

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


def train(
    workspace: Workspace, data: str | Path, request: TrainRequest, *, stdin: Iterable[str] | None = None
) -> Trained:
    """Train on the labeled samples of a pool and write the generation folder ``request.out``.

    An interrupted call, repeated, continues after its last whole epoch; its working files
    lie beside the folder until the generation is complete. A call whose generation is
    complete, repeated, trains nothing and finishes whatever was left of the clean-up.

    Raises:
        UsageError: options that make no sense together, or nothing lies at ``data``; nothing was done.
        LabelError: no labels, fewer than two classes, or labels that the model does not know.
        ModelError: the folder is taken, or the weights do not fit.
        MissingExtraError: torch is not installed.
    """
    _refuse_nonsense(workspace, data, request)
    from foresift.app.training.fitting import fit

    return fit(workspace, data, request, stdin=stdin)


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


def _refuse_nonsense(workspace: Workspace, data: str | Path, request: TrainRequest) -> None:
    """What a second can tell; an unknown architecture takes timm's list, and so torch."""
    Recipe.from_dict(request.recipe)
    if "head" in request.recipe and request.recipe.get("train") != "head":
        raise UsageError("--head is the kind of head for --train head; give both, or leave --head out")
    if request.weights and request.pretrained:
        raise UsageError("--weights and --pretrained exclude each other")
    if os.sep in request.model or looks_like_id(request.model):
        workspace.generation_folder(request.model)
    if not is_free(request.out) and not _asked_before(request):
        raise taken(request.out)
    for place in (data, request.val):
        if place not in ("-", None):
            open_source(str(place))
    if request.subset is not None:
        read_subset(request.subset)


def data_of(subset: Path) -> str:
    """Where the samples of a subset lay when it was chosen."""
    return str(read_subset(subset).data["name"])


def is_free(out: Path) -> bool:
    """Whether a generation may be written there: nothing, or an empty folder."""
    return not out.exists() or (out.is_dir() and not any(out.iterdir()))


def _asked_before(request: TrainRequest) -> bool:
    """Whether the folder's generation may be the one asked for, as far as that shows without its data.

    Never for a module of the user's own: which weights it began with is not on record.
    """
    if request.module is not None or not is_generation(request.out):
        return False
    try:
        held = read_generation(request.out)
        return (
            held.seed == request.seed
            and held.recipe.get("start") == started_from(request)
            and all(held.recipe.get(name) == value for name, value in request.recipe.items())
            and held.recipe.get("train") == request.recipe.get("train", "all")
            and request.classes in ((), held.classes)
            and request.image_size in (None, held.transform.size)
        )
    except ForesiftError:  # no whole record, or no weights file to compare with
        return False
