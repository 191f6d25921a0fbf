"""Why a sample was chosen, or not: a selection made once more and looked at sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.named_samples import find_sample
from foresift.app.pixels.strategies import as_typed
from foresift.app.selecting.receipts import Scene, find_receipt, restore, select_again
from foresift.app.workspace import Workspace
from foresift.core.arrays import Values
from foresift.core.queries import Query, Receipt, Selection
from foresift.core.samples import Quarantined
from foresift.kernels.softmax import softmax
from foresift.selection.contract import generator
from foresift.selection.guards import REASONS
from foresift.strategies import Strategy

NEIGHBOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a sample was chosen, or not."""

    sample_id: Any
    """Empty for a quarantined file."""
    uri: str
    chosen: bool
    pick: int | None
    """Position in the selection, from 1; None if not chosen."""
    strategy: str
    score: float | None
    rank: int | None
    """Position by score among the candidates, from 1; None where the strategy does not rank."""
    n_candidates: int
    reason: str
    classes: tuple[tuple[str, float], ...] = ()
    """The most probable classes and their probabilities."""
    neighbours: tuple[Mapping[str, Any], ...] = ()
    """Candidates just above and below in rank."""


def explain(workspace: Workspace, spec: str | Path, sample: str) -> Explanation:
    """Why this sample: pick, rank, score, probable classes, neighbours in rank.

    Args:
        sample: id, the beginning of one (6 or more characters), uri, or file name.
    Raises:
        ReplayError: as :func:`replay`.
        UsageError: the pool had no such sample.
    """
    receipt = find_receipt(workspace, spec)
    scene = restore(workspace, receipt)
    query = scene.strategy.query(scene.predictions, budget=receipt.budget, guards=scene.guards, **scene.known)
    selection = select_again(scene, receipt)
    row = find_sample(scene.snapshot, sample)
    if isinstance(row, Quarantined):
        return _not_chosen("", row.uri, receipt, f"it was quarantined: {row.reason}")
    sample_id = scene.snapshot.ids[row]
    at = np.flatnonzero(query.ids == sample_id)
    if not at.size:
        reason = "it was labeled already when the selection was made"
        return _not_chosen(sample_id.item(), str(scene.snapshot.uris[row]), receipt, reason)
    return _explain_candidate(scene, row, int(at[0]), query, selection, receipt)


def _not_chosen(sample_id: Any, uri: str, receipt: Receipt, reason: str) -> Explanation:
    return Explanation(
        sample_id=sample_id,
        uri=uri,
        chosen=False,
        pick=None,
        strategy=receipt.strategy,
        score=None,
        rank=None,
        n_candidates=receipt.n_candidates,
        reason=reason,
    )


def _explain_candidate(
    scene: Scene, row: int, at: int, query: Query, selection: Selection, receipt: Receipt
) -> Explanation:
    values = scene.strategy.values(query.seen_by(scene.strategy.needs, scene.strategy.uses))
    picked = np.flatnonzero(selection.sample_ids == query.ids[at])
    pick = int(picked[0]) + 1 if picked.size else None
    order = None if values is None else np.lexsort((np.arange(len(values)), -values))
    rank = None if order is None else int(np.flatnonzero(order == at)[0]) + 1
    return Explanation(
        sample_id=query.ids[at].item(),
        uri=str(scene.snapshot.uris[row]),
        chosen=pick is not None,
        pick=pick,
        strategy=receipt.strategy,
        score=None if values is None else float(values[at]),
        rank=rank,
        n_candidates=len(query),
        reason=_dropped(scene.strategy, at, query, receipt)
        or _reason(scene.strategy, query.ids[at], rank, pick, selection, receipt),
        classes=_probable(scene, query, at),
        neighbours=() if order is None or values is None else _near(query, values, order, rank or 1),
    )


def _dropped(strategy: Strategy, at: int, query: Query, receipt: Receipt) -> str:
    """Which stage of a chain left the sample out; empty if none did, or if guards had the chain asked otherwise."""
    if receipt.guards or receipt.control or not query.budget:
        return ""
    rng = generator(receipt.seed, strategy.name, labeled=query.labeled_ids)
    for place, (_, rows) in enumerate(strategy.kept_by_stage(query, rng), start=1):
        if at not in rows:
            stage = as_typed(strategy).partition(" ")[0].split("+")[place - 1].partition(":")[0]
            return (
                f"stage {place} of {as_typed(strategy)}, {stage}, kept {len(rows)} candidates and this is none of them"
            )
    return ""


def _reason(
    strategy: Strategy, sample: Any, rank: int | None, pick: int | None, selection: Selection, receipt: Receipt
) -> str:
    n = receipt.n_candidates
    if pick is not None and pick <= selection.n_control:
        arm = receipt.control
        return f"control arm: one of {arm['size']} drawn at random from {arm['population']} candidates"
    barred = next((reason for reason, ids in selection.barred.items() if np.isin(sample, ids)), None)
    if barred is not None:
        limits = ", ".join(f"{name}={value}" for name, value in receipt.guards["limits"].items())
        place = "" if rank is None else f"; rank {rank} of {n} by {as_typed(strategy)}"
        return f"barred by the guard {barred}: {REASONS[barred]}" + (f" ({limits})" if limits else "") + place
    if rank is None:
        what = f"pick {pick} of {receipt.budget}" if pick else "not picked"
        return f"{as_typed(strategy)} ranks nothing: {what} with seed {receipt.seed}"
    inside = "within" if pick else "below"
    return f"rank {rank} of {n} by {as_typed(strategy)}, {inside} the budget of {receipt.budget}"


def _probable(scene: Scene, query: Query, at: int) -> tuple[tuple[str, float], ...]:
    if "logits" not in query.columns:
        return ()
    probs = softmax(np.asarray(query.column("logits")[at : at + 1], dtype=np.float64))[0]
    best = np.argsort(-probs, kind="stable")[:3]
    names = scene.classes or tuple(str(code) for code in range(len(probs)))
    return tuple((names[code], float(probs[code])) for code in best.tolist())


def _near(query: Query, values: Values, order: npt.NDArray[np.intp], rank: int) -> tuple[dict[str, Any], ...]:
    first = max(0, rank - 1 - NEIGHBOURS)
    rows = order[first : rank + NEIGHBOURS]
    return tuple(
        {"rank": first + i + 1, "id": query.ids[row].item(), "score": float(values[row])}
        for i, row in enumerate(rows.tolist())
        if first + i + 1 != rank
    )
