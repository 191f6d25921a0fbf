"""The columns that a strategy needs: from the store, else by the passes that make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.engine_choice import default_batch, engine_asked
from foresift.app.models.opening import Model, require_head
from foresift.app.passes.configuring import FORWARD_COLUMNS, configured
from foresift.app.passes.fitted import PoolImages, fitted_passes, keep_in, with_fitted
from foresift.app.passes.stored import PassOptions, PassResult, open_job, predict_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.columns import missing_column
from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.generations import Transform
from foresift.core.predictions import Column, Predictions
from foresift.core.protocols import Engine, Outputs, StoredRows
from foresift.core.registry import build, parse_spec
from foresift.core.samples import Pool
from foresift.engines import REFERENCE
from foresift.inference.columns import COLUMN_PASSES, ColumnPass
from foresift.inference.pipeline import PassReport
from foresift.inference.transform import load
from foresift.inference.tuning import Choice
from foresift.selection.candidates import model_columns
from foresift.sources.read import fetch
from foresift.strategies import Strategy

if TYPE_CHECKING:
    from foresift.inference.columns.base import PixelsToValues
    from foresift.training.columns import FittedPass


JOINT = ("members", "member-logits")
"""Columns of several members: of one network with dropout, or of several models."""


def columns_of(strategy: Strategy) -> list[str]:
    """The columns that a strategy needs a model for."""
    return model_columns(strategy.needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to run so that a strategy has its columns."""

    forward: tuple[str, ...]
    """Columns of the forward pass."""
    over_images: tuple[ColumnPass, ...]
    fitted: tuple[FittedPass, ...]


def plan(strategy: Strategy, *, also: Sequence[str] = (), draws: int | None = None) -> Plan:
    """The passes that make what a strategy needs of a model; told before an image is read.

    Args:
        also: ``logits`` or ``embeddings``, where somebody else reads them.
        draws: members of one network with dropout; None = the default of the pass.
    Raises:
        MissingColumnError: it needs a column that no pass makes.
        MissingExtraError: torch is not installed, and a pass needs it.
        UsageError: a parameter out of range, or draws of a strategy that reads no members.
    """
    fitted = fitted_passes(strategy)
    if draws is not None and not set(JOINT) & set(strategy.needs):
        raise UsageError(f"--draws counts dropout passes, and {strategy.name} needs no members; leave it out")
    asked = {} if draws is None else {"draws": draws}
    made = {one.name for one in fitted}
    wanted = [name for name in columns_of(strategy) if name not in (*FORWARD_COLUMNS, *made)]
    for name in wanted:
        if name not in COLUMN_PASSES:
            raise MissingColumnError(missing_column(name, [*FORWARD_COLUMNS, *COLUMN_PASSES.names()]))
    needs = dict.fromkeys((*columns_of(strategy), *also, *(need for one in fitted for need in one.needs)))
    forward = tuple(name for name in needs if name in FORWARD_COLUMNS)
    return Plan(
        forward=forward if forward or wanted else ("embeddings",),  # which images are usable shows in a pass
        over_images=tuple(_pass_of(name, strategy, asked if name in JOINT else {}) for name in wanted),
        fitted=tuple(fitted),
    )


def _pass_of(name: str, strategy: Strategy, asked: Mapping[str, Any]) -> ColumnPass:
    return configured(COLUMN_PASSES.get(name), strategy, asked=asked)


def check_model(todo: Plan, model: Model, what: str) -> None:
    """Refuse a model that can't give the columns of a plan; told before an image is read.

    Raises:
        ModelError: logits, or passes over the whole network, of a generation without a head.
    """
    if "logits" in todo.forward or todo.over_images:
        require_head(model, what)


def predict_needed(
    workspace: Workspace,
    pool: Pool,
    model: Model,
    strategy: Strategy,
    *,
    labeled: Iterable[Any],
    options: PassOptions,
    also: Sequence[str] = (),
    draws: int | None = None,
) -> PassResult:
    """Every column that a strategy needs, of every usable sample of a pool, in ascending order of id.

    Args:
        labeled: m ids, for columns that are fitted to them.
        also, draws: as for :func:`plan`.
    Raises:
        MissingColumnError: a column that no pass makes; told before any image is read.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    todo = plan(strategy, also=also, draws=draws)
    results = [predict_pool(workspace, pool, model, columns=todo.forward, options=options)] if todo.forward else []
    results += [predict_column(workspace, pool, model, column, options=options) for column in todo.over_images]
    result = joined(results)
    images = images_of(pool, result.predictions)
    predictions = with_fitted(result.predictions, todo.fitted, labeled=labeled, keep=keep_in(workspace), images=images)
    return replace(result, predictions=predictions)


def images_of(pool: Pool, predictions: Predictions) -> PoolImages:
    """The images behind predictions of a pool, for columns that are fitted to pixels."""
    rows = pool.rows_of(predictions.sample_ids)
    uris = pool.uris[rows].tolist()

    def images(side: int) -> Pixels:
        transform = Transform(size=side)
        found = np.empty((len(uris), side, side, 3), dtype=np.uint8)
        for row, uri in enumerate(uris):
            found[row] = load(fetch(uri), transform)
        return found

    return PoolImages(digests=pool.digests[rows], load=images)


def predict_column(
    workspace: Workspace, pool: Pool, model: Model, column: ColumnPass, *, options: PassOptions
) -> PassResult:
    """One column that costs more than a forward pass, in float32 by torch.

    Rows are stored under the pass's spelling and batch size, shard by shard: a second call infers nothing.

    Raises:
        UsageError: another engine was asked for.
        ModelError: the generation can't give the column.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    if engine_asked(options.engine)[0] not in ("auto", REFERENCE):
        raise UsageError(f"{column.name} is made by torch in float32; leave --engine {options.engine} out")
    engines = _ColumnEngines(model, column)
    job = open_job(workspace, pool, model, options=options, key=model.whole_key, stage=column.spelling, engines=engines)
    batch = options.batch or default_batch(model.generation.transform.size)
    choice = Choice(engine=REFERENCE, batch=batch, reason=f"{column.name} needs the weights themselves")
    producer = job.producer(choice.engine, choice.batch)
    report = job.run(choice, producer)

    def made(stored: StoredRows, good: npt.NDArray[np.bool_]) -> dict[str, Column]:
        return {column.name: Column(values=stored_column(column, stored)[good], producer=producer)}

    return job.collect(
        choice,
        report,
        read=lambda digests: job.store.read(producer, digests, columns=("embeddings",)),
        columns=made,
    )


def stored_column(column: ColumnPass, stored: StoredRows) -> npt.NDArray[Any]:
    """(n, ...) a column from its stored rows."""
    assert stored.embeddings is not None  # noqa: S101 - the values of a pass are stored in their place
    return column.column(stored.embeddings)


def spelled_pass(stage: str) -> ColumnPass | None:
    """The pass that a producer's stage spells; None for a forward pass."""
    name = stage.partition(":")[0]
    if name not in COLUMN_PASSES:
        return None
    return build(COLUMN_PASSES.get(name), parse_spec(stage)[1], spec=stage)


def joined(results: Sequence[PassResult]) -> PassResult:
    """The columns of several passes over one pool, for the samples that all of them could use."""
    if len(results) == 1:
        return results[0]
    ids = results[0].predictions.sample_ids
    for result in results[1:]:
        ids = ids[np.isin(ids, result.predictions.sample_ids)]
    parts = [_only(result.predictions, ids) for result in results]
    columns = {name: column for part in parts for name, column in part.columns.items()}
    return PassResult(
        predictions=replace(parts[0], columns=columns),
        quarantined=tuple(dict.fromkeys(broken for result in results for broken in result.quarantined)),
        report=summed([result.report for result in results]),
        choice=results[0].choice,
    )


def summed(reports: Sequence[PassReport]) -> PassReport:
    """What several passes did together."""
    total = PassReport()
    for report in reports:
        total.add(report)
    return total


def _only(predictions: Predictions, ids: npt.NDArray[Any]) -> Predictions:
    return predictions.take(np.flatnonzero(np.isin(predictions.sample_ids, ids)))


class _ColumnEngines:
    """The one engine of a column pass; weights are loaded with its first batch."""

    portable = False

    def __init__(self, model: Model, column: ColumnPass) -> None:
        self._model, self._column = model, column

    def make(self, name: str, batch: int) -> Engine:  # noqa: ARG002 - there is one of any name and size
        """The pass as an engine."""
        return _ColumnEngine(self._column.make(self._model.subject()))

    def keep(self, name: str, batch: int) -> None:
        """Nothing else is held."""


class _ColumnEngine:
    """An engine whose embeddings are the values of a pass; there are no logits."""

    name, precision = "torch", "f32"

    def __init__(self, values: PixelsToValues) -> None:
        from importlib.metadata import version

        self.version = version("torch").split("+")[0]
        self._values = values

    def __call__(self, batch: Pixels) -> Outputs:
        import torch

        # As for the reference engine: a GPU would round to TF32 in convolutions by default.
        with torch.backends.cudnn.flags(allow_tf32=False):
            values = self._values(batch)
        return Outputs(np.zeros((len(values), 1), dtype=np.float32), values)
