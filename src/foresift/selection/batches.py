"""One batch: a strategy's picks, what guards made of them, and the control arm beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.queries import Picks, Query
from foresift.kernels.cosine import Mask
from foresift.kernels.topk import top_k
from foresift.selection.admission import Admission
from foresift.selection.contract import check_picks, generator
from foresift.selection.control import control_size, draw_control
from foresift.selection.guards import Guards


class Picker(Protocol):
    """What a batch asks of a strategy."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it must see."""
        ...

    @property
    def uses(self) -> tuple[str, ...]:
        """What it may see too."""
        ...

    @property
    def prefix(self) -> bool:
        """Whether more picks extend fewer."""
        ...

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """Rows to label."""
        ...

    def values(self, query: Query) -> Values | None:
        """What candidates are ranked by."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Picks of both arms, the control arm's first, and who was passed over."""

    picks: Picks
    n_control: int = 0
    barred: Mapping[str, Rows] = field(default_factory=dict)
    """Rows by reason, each under one."""
    guards: Mapping[str, Any] = field(default_factory=dict)
    """For the receipt: the limits, what they removed, what they cost."""
    control: Mapping[str, Any] = field(default_factory=dict)
    """For the receipt: the arm's size, the population it was drawn from, the probability of each."""


def pick_batch(strategy: Picker, query: Query, *, seed: int, guards: Guards, control: float) -> Batch:
    """The batch of a query; fewer than the budget only where guards leave no more.

    The control arm is drawn first, uniformly from the candidates that no guard bars beforehand; vetoes
    between picks do not touch it, or it would be no random sample, but the strategy's picks respect it.
    What the strategy picks is then the greedy walk down its own order: of one ranking where it ranks, else
    of one batch after another, each with earlier picks among the labeled rows (unless the strategy reads
    their labels, which nobody knows yet) and with everything that is vetoed or would be left out. Every
    further batch takes one candidate at least, so there are no more batches than picks.

    Args:
        query: n candidates with the columns of the strategy and of the guards.
        control: share of the budget, within [0, 1].
    """
    rng = generator(seed, strategy.name, labeled=query.labeled_ids)
    if not query.budget:
        return Batch(picks=Picks(rows=np.empty(0, dtype=np.intp), solver="none"))
    seen = query.seen_by(strategy.needs, strategy.uses)
    if not guards and not control:
        return Batch(picks=_checked(strategy, seen, rng))
    before = guards.bars(query)
    open_rows = np.ones(len(query), dtype=np.bool_)
    for rows in before.values():
        open_rows[rows] = False
    population = np.flatnonzero(open_rows)
    arm_rng = generator(seed, "control", labeled=query.labeled_ids)
    drawn = draw_control(population, control_size(query.budget, control), arm_rng)
    open_rows[drawn] = False
    admission = Admission(query, guards)
    admission.take(drawn)
    picks, cost = _guarded(strategy, seen, open_rows, admission, rng)
    return Batch(
        picks=picks,
        n_control=len(drawn),
        barred=_by_reason(before, admission),
        guards=_guards_record(guards, before, admission, cost) if guards else {},
        control=_control_record(control, drawn, population),
    )


def _guarded(
    strategy: Picker, query: Query, open_rows: Mask, admission: Admission, rng: np.random.Generator
) -> tuple[Picks, dict[str, Any]]:
    if not open_rows.any() or len(admission.taken) >= query.budget:
        return Picks(rows=np.array(admission.taken, dtype=np.intp), solver="none"), {}
    values = strategy.values(query) if strategy.prefix else None
    if values is None:
        return batch_after_batch(strategy, query, open_rows, admission, rng)
    return _down_the_ranking(strategy, query, values, open_rows, admission, rng)


def _down_the_ranking(
    strategy: Picker, query: Query, values: Values, open_rows: Mask, admission: Admission, rng: np.random.Generator
) -> tuple[Picks, dict[str, Any]]:
    """The greedy walk down the order of all open candidates."""
    free = np.flatnonzero(open_rows)
    order = _checked(strategy, query.among(free, budget=len(free)), rng)
    others = _without(len(query), admission.taken)
    chosen = admission.walk(free[order.rows], query.budget - len(admission.taken))
    rows = np.array(admission.taken, dtype=np.intp)
    picks = replace(order, rows=rows, scores=values[rows])
    return picks, _cost_in_rank(values, chosen, others)


def batch_after_batch(
    strategy: Picker, query: Query, open_rows: Mask, admission: Admission, rng: np.random.Generator
) -> tuple[Picks, dict[str, Any]]:
    """Ask, take what no guard objects to, and ask again for the rest with everything else that is out left out."""
    asked: list[Picks] = []
    scores: dict[int, float] = {}
    while (missing := query.budget - len(admission.taken)) and open_rows.any():
        part, free = _rest(strategy, query, open_rows, admission, budget=missing)
        picks = _checked(strategy, part, rng)
        asked.append(picks)
        rows = free[picks.rows]
        if picks.scores is not None:
            scores.update(zip(rows.tolist(), picks.scores.tolist(), strict=True))
        admission.walk(rows, missing)
        open_rows[rows] = False
        if len(admission.taken) < query.budget:
            admission.bar_conflicts(open_rows)
    known = [scores.get(row) for row in admission.taken]
    merged = Picks(
        rows=np.array(admission.taken, dtype=np.intp),
        scores=None if None in known else np.array(known, dtype=np.float64),
        solver=asked[0].solver,
        approx="; ".join(dict.fromkeys(picks.approx for picks in asked if picks.approx)),
        details=asked[0].details,
    )
    return merged, {"asked": len(asked)}


def _rest(strategy: Picker, query: Query, open_rows: Mask, admission: Admission, *, budget: int) -> tuple[Query, Rows]:
    """What is left to ask the strategy, and which rows of the query its candidates are."""
    free = np.flatnonzero(open_rows)
    reads_labels = "labels" in (*strategy.needs, *strategy.uses)
    known = query if reads_labels else query.beside(np.array(admission.taken, dtype=np.intp))
    return known.among(free, budget=min(budget, len(free))), free


def _checked(strategy: Picker, query: Query, rng: np.random.Generator) -> Picks:
    picks = strategy.pick(query, rng)
    check_picks(picks, query, name=strategy.name)
    return picks


def _without(n: int, rows: list[int]) -> Rows:
    left = np.ones(n, dtype=np.bool_)
    left[rows] = False
    return np.flatnonzero(left)


def _cost_in_rank(values: Values, chosen: list[int], others: Rows) -> dict[str, Any]:
    """How far down the ranking of ``others`` the choice went, and how much lower its values are on average."""
    if not chosen:
        return {}
    order = others[top_k(values[others], len(others))]
    rank = np.empty(len(values), dtype=np.intp)
    rank[order] = np.arange(1, len(order) + 1)
    best, got = values[order[: len(chosen)]], values[chosen]
    given_up = float(best.mean(dtype=np.float64) - got.mean(dtype=np.float64))
    return {"rank_reached": int(rank[chosen].max()), "mean_score_given_up": max(0.0, given_up)}


def _by_reason(before: Mapping[str, Rows], admission: Admission) -> dict[str, Rows]:
    vetoed = {reason: np.array(sorted(rows), dtype=np.intp) for reason, rows in admission.barred.items()}
    return {**before, **vetoed}


def _guards_record(
    guards: Guards, before: Mapping[str, Rows], admission: Admission, cost: Mapping[str, Any]
) -> dict[str, Any]:
    record: dict[str, Any] = {"limits": guards.limits}
    if guards.validation is not None:
        record["validation"] = len(guards.validation)
    record["removed"] = {reason: len(rows) for reason, rows in _by_reason(before, admission).items()}
    return {**record, **cost}


def _control_record(control: float, drawn: Rows, population: Rows) -> dict[str, Any]:
    if not control:
        return {}
    n = len(population)
    return {
        "share": control,
        "size": len(drawn),
        "population": n,
        "inclusion_probability": len(drawn) / n if n else 0.0,
    }
