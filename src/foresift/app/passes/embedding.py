"""``foresift embed``: embeddings of a pool, by a backbone at hand or one that the pool itself teaches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from foresift.app.passes.embed_request import METHODS, PRESETS, Backbone, EmbedRequest
from foresift.app.passes.stored import PassResult, predict_pool
from foresift.app.pools import open_pool, relabeled, without_masks
from foresift.app.training.request import is_free, taken
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.samples import Pool, Quarantined
from foresift.stores.generations import is_generation
from foresift.stores.tables import write_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The embeddings of a pool and what gave them."""

    pool: Pool
    backbone: Backbone
    result: PassResult

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """Each broken file once."""
        return tuple(dict.fromkeys((*self.backbone.quarantined, *self.result.quarantined)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the pool, the backbone and the store."""
        return (*self.pool.notes, *map(str, self.pool.conflicts), *self.backbone.notes, *self.result.notes)


def embed(
    workspace: Workspace, data: str | Path, request: EmbedRequest, *, stdin: Iterable[str] | None = None
) -> Embedded:
    """Write ``id, uri, embedding`` of every usable image of a pool; what the store holds is not inferred again.

    An interrupted training, repeated, continues after its last whole epoch; one whose generation is complete
    trains nothing.

    Raises:
        UsageError: options that make no sense together; nothing was done.
        ModelError: no such generation, weights that can't be had, or a folder that is taken.
        MissingExtraError: torch is not installed.
    """
    _refuse_nonsense(request)
    from foresift.app.models.backbones import frozen_backbone, taught_backbone

    data, notes = without_masks(data)
    pool = open_pool(workspace, data, progress=request.options.progress, stdin=stdin)
    pool = replace(pool, notes=(*notes, *pool.notes))
    if request.train is None:
        backbone = frozen_backbone(workspace, request)
    else:
        backbone = taught_backbone(workspace, relabeled(pool, request.labels), request)
    model = replace(backbone.model, backbone_only=True)
    result = predict_pool(workspace, pool, model, columns=("embeddings",), options=request.options)
    write_predictions(request.out, result.predictions)
    return Embedded(pool=pool, backbone=backbone, result=result)


def _refuse_nonsense(request: EmbedRequest) -> None:
    if request.out.suffix.lower() != ".parquet":
        raise UsageError(f"--out {request.out}: embeddings are written as .parquet")
    if request.preset not in PRESETS:
        raise UsageError(f"--preset must be one of {', '.join(PRESETS)}, got {request.preset!r}")
    if request.train is not None and request.train not in METHODS:
        raise UsageError(f"--train must be {' or '.join(METHODS)}, got {request.train!r}")
    if request.train is not None and request.save is None:
        raise UsageError("--train makes a generation: give the folder for it with --save DIR")
    if request.train is None and request.model is None:
        raise UsageError("give --train simclr to train a backbone on these images, or --model NAME|DIR to use one")
    if request.save is not None and not is_free(request.save) and not is_generation(request.save):
        raise taken(request.save)
    if request.train is None and (request.labels is not None or request.epochs is not None or request.crops):
        raise UsageError("--labels, --epochs and --crops belong to a training: add --train simclr, or leave them out")
