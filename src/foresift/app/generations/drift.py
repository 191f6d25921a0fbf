"""``foresift drift``: a pool against the one that a generation was trained from, source by source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import open_model, require_head
from foresift.app.passes.stored import PassOptions, PassResult, predict_pool
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ForesiftError, UsageError
from foresift.core.generations import Generation
from foresift.core.samples import Pool, Quarantined
from foresift.lineage.drift import LEAST_ROWS, GroupDrift, group_drift
from foresift.scores import SCORES
from foresift.sources.addresses import is_remote

WHOLE = "all"
"""The one group of a pool without groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRequest:
    """What to compare."""

    pool: str | Path
    model: str | Path
    reference: str | Path | None = None
    """Images in place of the pool that the generation was trained from."""
    score: str = "margin"
    alpha: float = 0.01
    """Rate of any false alarm among all groups and tests."""
    seed: int = 0
    options: PassOptions = field(default_factory=PassOptions)

    def __post_init__(self) -> None:
        if SCORES.get(self.score).needs != ("logits",):
            raise UsageError(f"drift compares scores of one model's logits; {self.score} needs more")
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha is a rate of false alarms within 0 .. 1, got {self.alpha:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """Every source of the pool, the most shifted first."""

    reference: str
    reference_n: int
    reference_mean_score: float
    score: str
    alpha: float
    groups: tuple[GroupDrift, ...]
    left_out: tuple[str, ...]
    """Groups with too few images for a test."""
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()


def drift(workspace: Workspace, request: DriftRequest, *, stdin: Iterable[str] | None = None) -> DriftReport:
    """Score and embedding distributions of each source of a pool against the reference's.

    Raises:
        DataError: the pool that the generation was trained from is gone, and no reference is given.
        UsageError: too few images on either side, or no reference is given and the pool is all part of it.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    model = open_model(workspace, request.model)
    require_head(model, "a drift report")
    known = _reference(workspace, request, model.generation)
    pool = open_pool(workspace, request.pool, progress=request.options.progress, stdin=stdin)
    shared = _shared(request, pool, known)
    before, now = (
        predict_pool(workspace, one, model, columns=("logits", "embeddings"), options=request.options)
        for one in (known, pool)
    )
    groups = _groups(pool, now)
    scores = [SCORES.get(request.score)(one.predictions.column("logits")) for one in (before, now)]
    found = group_drift(
        (scores[0], scores[1]),
        (before.predictions.column("embeddings"), now.predictions.column("embeddings")),
        groups,
        rng=np.random.default_rng(request.seed),
        alpha=request.alpha,
    )
    names, counts = np.unique(groups, return_counts=True)
    return DriftReport(
        reference=known.name,
        reference_n=len(before.predictions),
        reference_mean_score=float(scores[0].mean()),
        score=request.score,
        alpha=request.alpha,
        groups=tuple(found),
        left_out=tuple(names[counts < LEAST_ROWS].tolist()),
        quarantined=now.quarantined,
        notes=(*pool.notes, *now.notes, *shared, *_caveats(workspace, request, model.generation, known)),
    )


def _reference(workspace: Workspace, request: DriftRequest, generation: Generation) -> Pool:
    """The reference's images: those given, else the whole pool that the generation's record names.

    The labeled part of it alone is a biased sample where a strategy chose the labels: it prefers what models are unsure
    of, so that a plain sample of an unchanged world looks like drift.
    """
    if request.reference is not None:
        return open_pool(workspace, request.reference, progress=request.options.progress)
    name = generation.data.get("pool")
    if not isinstance(name, str) or not (is_remote(name) or Path(name).exists()):
        raise DataError(
            f"the pool that this generation was trained from ({name or 'not recorded'}) is not there; "
            "give images like those in it with --reference POOL"
        )
    try:
        return open_pool(workspace, name, progress=request.options.progress)
    except ForesiftError as error:
        raise DataError(f"{error}; give other images with --reference POOL") from None


def _shared(request: DriftRequest, pool: Pool, known: Pool) -> tuple[str, ...]:
    """A note that images of the pool are in the reference; () where none is.

    Raises:
        UsageError: no reference is given, and all of them are: nothing could be found.
    """
    count = int(np.isin(pool.digests, known.digests).sum())
    if request.reference is None and count == len(pool):
        raise UsageError(
            f"{pool.name} is the reference itself: all {count:,} images are in the pool that the model was trained "
            f"from ({known.name}); give other images with --reference POOL"
        )
    told = (
        f"{count:,} of the {len(pool):,} images are in the reference, too: they make drift of the others look smaller"
    )
    return (told,) if count else ()


def _caveats(workspace: Workspace, request: DriftRequest, generation: Generation, known: Pool) -> tuple[str, ...]:
    if request.reference is not None:
        return ()
    fitted = (
        f"the model was trained on {generation.data.get('labeled', 'some')} of the {len(known)} reference images "
        "and is surer of those: scores of others differ from theirs without any drift; images held out of "
        "training, given with --reference POOL, are the fairer comparison"
    )
    there = set(map(str, known.ids.tolist()))
    gone = sum(row["id"] not in there for row in workspace.descents.labels(generation.id))
    changed = f"{gone:,} of the images that the model was trained on are no longer in {known.name}"
    return (fitted, changed) if gone else (fitted,)


def _groups(pool: Pool, result: PassResult) -> npt.NDArray[np.str_]:
    rows = pool.rows_of(result.predictions.sample_ids)
    if pool.groups is None:
        return np.full(len(rows), WHOLE)
    groups: npt.NDArray[np.str_] = np.where(pool.groups[rows] == "", "-", pool.groups[rows])
    return groups
