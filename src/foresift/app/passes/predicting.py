"""``foresift predict``: logits and embeddings of a pool, kept in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foresift.app.models.opening import Model, open_model, require_head
from foresift.app.passes.ahead import looking_ahead
from foresift.app.passes.committee import predict_together
from foresift.app.passes.ensembles import is_ensemble, open_members
from foresift.app.passes.stored import PassOptions, PassResult, predict_pool
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.samples import Pool
from foresift.stores.tables import write_predictions

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A pool and what a model said of it."""

    pool: Pool
    result: PassResult

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the pool and the store."""
        return (*self.pool.notes, *map(str, self.pool.conflicts), *self.result.notes)


def predict(
    workspace: Workspace,
    pool: str | Path,
    model: str | Path | Sequence[str | Path],
    *,
    checkpoints: str = "",
    out: Path | None = None,
    options: PassOptions | None = None,
    stdin: Iterable[str] | None = None,
    module: nn.Module | None = None,
) -> Predicted:
    """Infer whatever the store lacks; with ``out``, write all predictions as Parquet.

    A generation without a head gives embeddings alone. Several models give their state as the column ``members``,
    the log of their mean probability as ``logits``, and the embeddings of the first one.

    Args:
        model: a generation folder or id, or an ensemble; several are the members of one.
        checkpoints: ``all`` or ``last=N``: the kept checkpoints of the models instead.
    Raises:
        UsageError: ``out`` is no .parquet file (before any work), or models that are no ensemble.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    if out is not None and out.suffix.lower() != ".parquet":
        raise UsageError(f"--out {out}: predictions are written as .parquet")
    options = options or PassOptions()
    models = open_speakers(workspace, model, checkpoints=checkpoints, module=module)
    with looking_ahead(workspace, models, options) as seen:
        opened = open_pool(workspace, pool, progress=options.progress, stdin=stdin, seen=seen)
    result = _said(workspace, opened, models, whole=out is not None, options=options)
    result = result if seen is None else seen.counted(result)
    if out is not None:
        write_predictions(out, result.predictions)
    return Predicted(pool=opened, result=result)


def predict_whole(
    workspace: Workspace,
    pool: str | Path,
    model: str | Path | Sequence[str | Path],
    *,
    checkpoints: str = "",
    options: PassOptions,
    module: nn.Module | None = None,
) -> PassResult:
    """Every column that the models give in a forward pass; raises as :func:`predict`."""
    models = open_speakers(workspace, model, checkpoints=checkpoints, module=module)
    return _said(workspace, open_pool(workspace, pool), models, whole=True, options=options)


def open_speakers(
    workspace: Workspace,
    model: str | Path | Sequence[str | Path],
    *,
    checkpoints: str = "",
    module: nn.Module | None = None,
) -> list[Model]:
    """The one model, or the members of an ensemble, that somebody asks.

    Raises:
        UsageError: models that are no ensemble, or a module beside several.
        ModelError: a member of an ensemble has no head.
    """
    specs = [model] if isinstance(model, str | Path) else list(model)
    if len(specs) == 1 and not checkpoints and not is_ensemble(specs[0]):
        return [open_model(workspace, specs[0], module=module)]
    if module is not None:
        raise UsageError("module= goes with one model; adopt each of several and leave it out")
    models = open_members(workspace, specs, checkpoints=checkpoints)
    for one in models:
        require_head(one, "a member of an ensemble")
    return models


def _said(
    workspace: Workspace, pool: Pool, models: Sequence[Model], *, whole: bool, options: PassOptions
) -> PassResult:
    if len(models) == 1:
        return predict_pool(workspace, pool, models[0], columns=_columns(models[0], whole=whole), options=options)
    names = ("members", "logits", "embeddings") if whole else ("members", "logits")
    return predict_together(workspace, pool, models, names=names, options=options)[0]


def _columns(model: Model, *, whole: bool) -> tuple[str, ...]:
    """What there is to predict; embeddings only where they are written or there is nothing else."""
    if not model.generation.has_head:
        return ("embeddings",)
    return ("logits", "embeddings") if whole else ("logits",)
