"""Another strategy's choice, within shares of the budget for each predicted class or group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.filling import fill_order
from foresift.selection.admission import Admission, group_codes, predicted_classes
from foresift.selection.base import Strategy
from foresift.selection.batches import batch_after_batch
from foresift.selection.guards import Guards
from foresift.selection.inner import approximations, inner_strategy, picks_of_each_kind, spelled_within
from foresift.selection.registry import strategy

KINDS = ("class", "group")


@strategy
@dataclass(frozen=True, kw_only=True)
class Quota(Strategy):
    """At least and at most so much of the budget for each predicted class or group; another strategy chooses.

    First every kind gets its least share (rounded down, as far as it has candidates), then the
    inner strategy chooses among all kinds below their most (rounded down, at least one). If that
    leaves budget over, it is spent beyond the most, and the receipt says so: the budget is always
    met. Candidates without a group are bound by nothing.

    Cost: the inner strategy's, once more for each kind that reaches its most.
    """

    of: str = "margin"
    """The inner strategy, ``NAME`` or ``NAME/key=value/...``."""
    by: str = "class"
    """``class`` (predicted) or ``group``."""
    least: float = 0.0
    most: float = 0.5

    name: ClassVar[str] = "quota"
    cite: ClassVar[str] = "quota sampling within predicted classes or groups"
    cost: ClassVar[str] = "O(n c) time and that of the inner strategy, up to c times; O(n) memory"
    when: ClassVar[str] = "one class, site or video would take the whole budget"
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def __post_init__(self) -> None:
        if self.by not in KINDS:
            raise UsageError(f"by must be {' or '.join(KINDS)}, got {self.by!r}")
        if not 0 <= self.least <= self.most <= 1 or not self.most:
            raise UsageError(f"expected shares 0 <= least <= most <= 1, most above 0; got {self.least}, {self.most}")
        inner = inner_strategy(self.of)
        object.__setattr__(self, "of", spelled_within(inner))
        column = {"class": "logits", "group": "groups"}[self.by]
        self._declare(
            needs=tuple(dict.fromkeys((*inner.needs, column))),
            uses=inner.uses,
        )

    @property
    def inner(self) -> Strategy:
        """The strategy that chooses."""
        return inner_strategy(self.of)

    def parameters_for(self, column: str) -> Mapping[str, Any]:
        """Those of the inner strategy."""
        return self.inner.parameters_for(column)

    def check_budget(self, budget: int) -> None:
        """As the inner strategy."""
        self.inner.check_budget(budget)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """Least shares, then free choice below the most, then whatever is left."""
        kinds = self._kinds(query)
        most = max(1, _share(self.most, query.budget))
        reserved, answers = self._reserved(query, kinds, int(rng.bit_generator.random_raw()))
        limit = Guards(max_per_class=most) if self.by == "class" else Guards(max_per_group=most)
        admission = Admission(query, limit)
        admission.take(reserved)
        open_rows = np.ones(len(query), dtype=np.bool_)
        open_rows[reserved] = False
        admission.bar_conflicts(open_rows)
        answers += self._chosen(query, open_rows, admission, rng)
        over = query.budget - len(admission.taken)
        if over:
            answers += self._chosen(query, _untaken(query, admission), _unbound(query, admission), rng)
        rows = np.array(admission.taken, dtype=np.intp)
        return Picks(
            rows=rows,
            solver=answers[0].solver,
            approx=approximations(answers),
            details={"reserved": len(reserved), "most": most, "beyond_most": over},
        )

    def _kinds(self, query: Query) -> Rows:
        return predicted_classes(query) if self.by == "class" else group_codes(query)

    def _reserved(self, query: Query, kinds: Rows, word: int) -> tuple[Rows, list[Picks]]:
        """Every kind's least share; what there is of it goes round if the budget is too small for all."""
        sizes = np.bincount(kinds[kinds >= 0], minlength=1)
        room = np.minimum(sizes, _share(self.least, query.budget))
        turns = fill_order(np.zeros_like(room), room, min(query.budget, int(room.sum())))
        rows, _, answers = picks_of_each_kind(self.inner, query, kinds, turns, word)
        return rows, answers

    def _chosen(
        self, query: Query, open_rows: np.ndarray[Any, Any], admission: Admission, rng: np.random.Generator
    ) -> list[Picks]:
        if len(admission.taken) == query.budget or not open_rows.any():
            return []
        seen = query.seen_by(self.inner.needs, self.inner.uses)
        return [batch_after_batch(self.inner, seen, open_rows, admission, rng)[0]]


def _share(share: float, budget: int) -> int:
    """A share of the budget, rounded down as it is written and not as it is stored."""
    return int(Decimal(repr(float(share))) * budget)


def _untaken(query: Query, admission: Admission) -> np.ndarray[Any, Any]:
    left = np.ones(len(query), dtype=np.bool_)
    left[admission.taken] = False
    return left


def _unbound(query: Query, admission: Admission) -> Admission:
    """The same picks with no limit to those that follow; they are added to the same list."""
    free = Admission(query, Guards())
    free.taken = admission.taken
    return free
