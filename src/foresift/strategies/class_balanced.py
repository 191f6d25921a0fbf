"""The budget spread over the predicted classes, those with the fewest labels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.queries import Picks, Query
from foresift.kernels.filling import fill_order
from foresift.selection.admission import predicted_classes
from foresift.selection.base import Strategy
from foresift.selection.inner import approximations, inner_strategy, picks_of_each_kind, spelled_within
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class ClassBalanced(Strategy):
    """Each pick goes to the predicted class with the fewest labels; another strategy chooses within it.

    Labels that are owned already count where they are given, so that the labels in hand after
    the round are as even as the pool and the model's predictions allow. When a class runs out,
    the others share the rest. The inner strategy sees one class at a time.

    Cost: O(n c) to predict, O(n log n) to sort, and the inner strategy's over all classes.
    """

    of: str = "margin"
    """The inner strategy, ``NAME`` or ``NAME/key=value/...``."""

    name: ClassVar[str] = "class-balanced"
    cite: ClassVar[str] = "balanced allocation in stratified sampling; predicted classes as strata"
    cost: ClassVar[str] = "O(n (c + log n)) time and that of the inner strategy, O(n) memory"
    when: ClassVar[str] = "rare classes get few labels otherwise"
    needs: ClassVar[tuple[str, ...]] = ("logits",)
    uses: ClassVar[tuple[str, ...]] = ("labels",)

    def __post_init__(self) -> None:
        inner = inner_strategy(self.of)
        object.__setattr__(self, "of", spelled_within(inner))
        self._declare(
            needs=tuple(dict.fromkeys((*inner.needs, "logits"))),
            uses=tuple(name for name in dict.fromkeys((*inner.uses, "labels")) if name not in inner.needs),
            prefix=inner.prefix,
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
        """The next best of the class with the fewest labels, k times."""
        c = query.matrix("logits").width
        kinds = predicted_classes(query)
        owned, room = _owned(query, c), np.bincount(kinds, minlength=c)
        turns = fill_order(owned, room, query.budget)
        word = int(rng.bit_generator.random_raw())
        rows, scores, answers = picks_of_each_kind(self.inner, query, kinds, turns, word)
        return Picks(
            rows=rows,
            scores=scores,
            solver=answers[0].solver,
            approx=approximations(answers),
            details=_details(query, owned, room, turns),
        )


def _owned(query: Query, c: int) -> Rows:
    """(c,) labels in hand of each class; zeros where none were given."""
    labels = np.empty(0, dtype=np.int64) if query.labels is None else query.labels
    return np.bincount(labels[(labels >= 0) & (labels < c)], minlength=c)


def _details(query: Query, owned: Rows, room: Rows, turns: Rows) -> dict[str, Any]:
    picks = np.bincount(turns, minlength=len(owned))
    after = owned + picks
    return {
        "labels_counted": query.labels is not None,
        "picks_of_class": {str(code): int(picks[code]) for code in np.flatnonzero(picks)},
        "ran_out": np.flatnonzero((picks == room) & (after < after.max())).tolist(),
    }
