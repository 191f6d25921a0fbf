"""``foresift train``: what can be refused is refused before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from foresift.app.training.request import Trained, TrainRequest, is_free, looks_like_id, started_from, taken
from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError, UsageError
from foresift.sources import open_source
from foresift.stores.generations import is_generation, read_generation
from foresift.stores.subsets import read_subset
from foresift.training import Recipe

if TYPE_CHECKING:
    pass


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
