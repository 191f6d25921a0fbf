"""``foresift predict``: logits and embeddings of a pool, kept in the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foresift.app.models import Model, open_model
from foresift.app.passes import PassOptions, PassResult, predict_pool
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
    model: str | Path,
    *,
    out: Path | None = None,
    options: PassOptions | None = None,
    stdin: Iterable[str] | None = None,
    module: nn.Module | None = None,
) -> Predicted:
    """Infer whatever the store lacks; with ``out``, write all predictions as Parquet.

    A generation without a head gives embeddings alone.

    Raises:
        UsageError: ``out`` is no .parquet file (before any work).
        ForesiftError: as :func:`foresift.app.passes.predict_pool`.
    """
    if out is not None and out.suffix.lower() != ".parquet":
        raise UsageError(f"--out {out}: predictions are written as .parquet")
    options = options or PassOptions()
    opened_model = open_model(workspace, model, module=module)
    opened = open_pool(workspace, pool, progress=options.progress, stdin=stdin)
    columns = _columns(opened_model, whole=out is not None)
    result = predict_pool(workspace, opened, opened_model, columns=columns, options=options)
    if out is not None:
        write_predictions(out, result.predictions)
    return Predicted(pool=opened, result=result)


def _columns(model: Model, *, whole: bool) -> tuple[str, ...]:
    """What there is to predict; embeddings only where they are written or there is nothing else."""
    if not model.generation.has_head:
        return ("embeddings",)
    return ("logits", "embeddings") if whole else ("logits",)
