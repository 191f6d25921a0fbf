"""Pools that no model has looked at: what is known of them, and which picks turn out to be broken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foresift.app.selecting.guarding import with_groups_of
from foresift.app.selecting.request import Request
from foresift.core.arrays import Ids
from foresift.core.errors import DataError, MissingExtraError, QuarantineError
from foresift.core.predictions import Predictions
from foresift.core.samples import Pool, Quarantined
from foresift.inference.decode import decode
from foresift.selection.guards import NO_GUARDS, Guards
from foresift.sources.read import fetch
from foresift.strategies import Strategy


def unseen(pool: Pool, strategy: Strategy, guards: Guards) -> Predictions:
    """What is known of a pool that no model looked at."""
    predictions = Predictions(sample_ids=pool.ids, uris=pool.uris)
    reads_groups = "groups" in (*strategy.needs, *guards.needs)
    return with_groups_of(pool, predictions) if reads_groups else predictions


def without_broken_picks(
    pool: Pool, strategy: Strategy, labeled: Ids, request: Request, *, guards: Guards = NO_GUARDS
) -> Pool:
    """The pool without the images that would be picked and can't be decoded; these are quarantined.

    No model has looked at the pool, so nobody knows yet which images are broken. Only those that
    are picked are decoded, until all of them are fine.
    """
    checked: set[Any] = set()
    while True:
        picked = strategy.select(
            unseen(pool, strategy, guards),
            budget=request.budget,
            labeled=labeled,
            seed=request.seed,
            guards=guards,
            control=request.control,
        ).sample_ids
        fresh = [row for row in pool.rows_of(picked).tolist() if pool.ids[row] not in checked]
        broken = {row: reason for row in fresh if (reason := _why_broken(str(pool.uris[row])))}
        checked.update(pool.ids[row] for row in fresh)
        if not broken:
            return pool
        found = [Quarantined(uri=str(pool.uris[row]), reason=reason) for row, reason in broken.items()]
        if request.options.strict:
            raise QuarantineError(f"--strict: {found[0].uri}: {found[0].reason}")
        keep = np.ones(len(pool), dtype=bool)
        keep[list(broken)] = False
        pool = replace(pool.take(keep), quarantined=(*pool.quarantined, *found))


def _why_broken(uri: str) -> str:
    """Why an image can't be decoded; empty if it can, or if no decoder is installed to tell."""
    try:
        decode(fetch(uri))
    except MissingExtraError:
        return ""
    except DataError as error:
        return str(error)
    return ""
