"""Columns that take a training on the pool: made where a strategy needs them, kept for a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foresift.app.passes.configuring import FORWARD_COLUMNS, configured
from foresift.app.workspace import Workspace
from foresift.core.arrays import Ids, Pixels, frozen
from foresift.core.digests import digest_ids, digest_value
from foresift.core.errors import MissingExtraError, ReplayError
from foresift.core.predictions import Column, Predictions, Producer
from foresift.engines import REFERENCE, engine_identity
from foresift.inference.columns import COLUMN_PASSES
from foresift.selection.candidates import labeled_of, model_columns
from foresift.stores.files import write_atomically
from foresift.strategies import Strategy

if TYPE_CHECKING:
    from foresift.training.columns import FittedPass

FITTED = "fitted "
"""How the stage of such a column begins."""
Fit = Callable[[], npt.NDArray[np.float32]]
Keep = Callable[[Producer, Fit], npt.NDArray[np.float32]]
"""The column of a producer, fitted unless it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolImages:
    """The images behind n rows."""

    digests: npt.NDArray[np.str_]
    """(n,) of their contents."""
    load: Callable[[int], Pixels]
    """A side s in pixels -> (n, s, s, 3) uint8."""


def fitted_passes(strategy: Strategy, *, have: Iterable[str] = ()) -> list[FittedPass]:
    """The fitted passes that make what a strategy needs beyond the columns at hand.

    Raises:
        MissingExtraError: torch is not installed.
        UsageError: a parameter out of range.
    """
    others = (*FORWARD_COLUMNS, *have)
    wanted = [name for name in model_columns(strategy.needs) if name not in others and name not in COLUMN_PASSES]
    if not wanted:
        return []
    try:
        from foresift.training.columns import FITTED_PASSES
    except ImportError as error:
        raise MissingExtraError(f"the column {wanted[0]}", "vision") from error
    entries = [FITTED_PASSES.get(name) for name in wanted if name in FITTED_PASSES]
    return [configured(entry, strategy) for entry in entries]


def with_fitted(
    predictions: Predictions,
    passes: Iterable[FittedPass],
    *,
    labeled: Iterable[Any],
    keep: Keep | None = None,
    images: PoolImages | None = None,
) -> Predictions:
    """The predictions with the column of every pass.

    Args:
        labeled: m ids, in the predictions or not.
        keep: where columns are kept; by default nowhere.
        images: of the predictions' samples in ascending order of id, for passes that are fitted to images.
    Raises:
        MissingColumnError: a pass lacks a column.
        UsageError: nothing is labeled.
    """
    known = labeled_of(labeled, None, like=predictions.sample_ids).ids
    for made_by in passes:
        column = _fitted(predictions, made_by, known, keep or _fit_now, images)
        predictions = replace(predictions, columns={**predictions.columns, made_by.name: column})
    return predictions


def _fitted(
    predictions: Predictions, made_by: FittedPass, labeled: Ids, keep: Keep, images: PoolImages | None
) -> Column:
    from foresift.training.columns import PIXELS, FitInputs

    order = np.argsort(predictions.sample_ids, kind="stable")
    ordered = predictions.take(order)
    used = [name for name in made_by.needs if name != PIXELS]
    held = labeled[np.isin(labeled, ordered.sample_ids)]
    library, precision = engine_identity(REFERENCE)
    seen = [ordered.digest(used), digest_ids(held)]
    if images is not None and PIXELS in made_by.needs:
        seen.append(digest_ids(images.digests))
    producer = Producer(
        model=digest_value(seen), stage=f"{FITTED}{made_by.spelling}", engine=library, precision=precision
    )

    def fit() -> npt.NDArray[np.float32]:
        return made_by.fit(
            FitInputs(
                labeled=np.isin(ordered.sample_ids, held),
                columns={name: ordered.column(name) for name in used},
                load=None if images is None else images.load,
            )
        )

    values = keep(producer, fit)
    back = np.empty_like(values)
    back[order] = values
    return Column(values=frozen(back), producer=producer)


def _fit_now(_producer: Producer, fit: Fit) -> npt.NDArray[np.float32]:
    return fit()


def keep_in(workspace: Workspace) -> Keep:
    """Columns as files of the workspace: a second selection on the same inputs trains nothing."""

    def keep(producer: Producer, fit: Fit) -> npt.NDArray[np.float32]:
        path = fitted_file(workspace, producer)
        if path.is_file():
            return read_fitted(workspace, producer)
        values = fit()
        write_atomically(path, lambda target: _save(target, values))
        return values

    return keep


def is_fitted(producer: Producer) -> bool:
    """Whether a column was fitted to a pool."""
    return producer.stage.startswith(FITTED)


def fitted_file(workspace: Workspace, producer: Producer) -> Path:
    """Where a fitted column is kept."""
    return workspace.home / "columns" / f"{producer.digest}.npy"


def read_fitted(workspace: Workspace, producer: Producer) -> npt.NDArray[np.float32]:
    """(n, ...) a kept column, rows in ascending order of id.

    Raises:
        ReplayError: it is not in the workspace, or damaged.
    """
    path = fitted_file(workspace, producer)
    try:
        values: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ReplayError(
            f"the column {producer.stage} was fitted to the pool and is not at {path} any more; "
            "select again with the same --labeled file to fit it afresh"
        ) from None
    return values


def _save(target: Path, values: npt.NDArray[np.float32]) -> None:
    with target.open("wb") as file:
        np.save(file, values, allow_pickle=False)
