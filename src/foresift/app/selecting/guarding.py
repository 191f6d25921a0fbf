"""From what a person asks to be guarded against to guards over one pool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.models.opening import Model
from foresift.app.passes.stored import PassOptions, predict_pool
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.predictions import POOL, Column, Predictions
from foresift.core.samples import Pool
from foresift.selection.guards import Guards
from foresift.stores.tables import is_predictions, read_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What must not be picked, as files and numbers; see :class:`foresift.Guards`."""

    min_distance: float | None = None
    max_per_group: int | None = None
    max_per_class: int | None = None
    validation: str | None = None
    """A predictions file (ids, embeddings), or a pool of images."""

    def guards(self) -> Guards:
        """The limits without the validation set; raises ``UsageError`` where one makes no sense."""
        return Guards(
            min_distance=self.min_distance, max_per_group=self.max_per_group, max_per_class=self.max_per_class
        )

    @property
    def reads_images(self) -> bool:
        """Whether the candidates' contents must be known: to tell them from a validation pool's."""
        return self.validation is not None and not is_predictions(Path(self.validation))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A validation set: what its samples are, and where it came from."""

    guards: Guards
    described: dict[str, Any]


def with_held_out(
    guards: Guards, limits: Limits, pool: Pool, *, workspace: Workspace, model: Model | None, options: PassOptions
) -> HeldOut:
    """The guards with a validation set beside them.

    From a predictions file, ids and embeddings count; from a pool of images, content and, by the same
    model, embeddings.

    Raises:
        UsageError: embeddings are compared, and there is none or no model to make them.
        ForesiftError: as for opening a pool and predicting.
    """
    if limits.validation is None:
        return HeldOut(guards=guards, described={})
    path = Path(limits.validation)
    if is_predictions(path):
        known = read_predictions(path)
        if guards.min_distance is not None and "embeddings" not in known.columns:
            raise UsageError(f"--validation {path} has no column embedding, which --min-distance compares")
        return HeldOut(guards=replace(guards, validation=known), described={"name": str(path), "size": len(known)})
    held_out = open_pool(workspace, limits.validation)
    refused = pool.ids[np.isin(pool.digests, held_out.digests) & (pool.digests != "")]
    described = {"name": held_out.name, "version": held_out.version, "size": len(held_out)}
    if guards.min_distance is None:
        return HeldOut(guards=replace(guards, refused=refused), described=described)
    if model is None:
        raise UsageError(
            f"--min-distance compares embeddings, and --validation {path} holds images;"
            " give --model, or a predictions file as --validation"
        )
    made = predict_pool(workspace, held_out, model, columns=("embeddings",), options=options)
    return HeldOut(
        guards=replace(guards, refused=refused, validation=_by_content(held_out, made.predictions)), described=described
    )


def with_groups_of(pool: Pool, predictions: Predictions) -> Predictions:
    """The predictions with the column ``groups`` from the pool.

    Raises:
        MissingColumnError: the pool names no groups.
    """
    check_groups(pool)
    assert pool.groups is not None  # noqa: S101 - checked in the line above
    values = pool.groups[pool.rows_of(predictions.sample_ids)]
    return replace(predictions, columns={**predictions.columns, "groups": Column(values=values, producer=POOL)})


def check_groups(pool: Pool) -> None:
    """Refuse a pool without groups, before any work.

    Raises:
        MissingColumnError: it has none.
    """
    if pool.groups is None:
        raise MissingColumnError(f"pool {pool.name} names no groups; give a manifest with a column group")


def _by_content(pool: Pool, predictions: Predictions) -> Predictions:
    """Embeddings under content digests instead of ids: another pool's ids may mean other images."""
    digests = pool.digests[pool.rows_of(predictions.sample_ids)]
    _, first = np.unique(digests, return_index=True)
    return replace(predictions.take(first), sample_ids=digests[first], uris=None)
