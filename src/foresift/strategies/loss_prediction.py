"""The images whose loss is predicted to be largest (LLAL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.core.ranges import check_at_least
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy, check_finite
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class LossPrediction(Strategy):
    """The largest losses as a module of the network itself predicts them.

    ``subset=10000`` looks at that many random candidates only, the authors' protocol on CIFAR-10,
    which keeps copies of one image from being chosen together; 0 looks at all.

    Source: Yoo and Kweon 2019, *Learning Loss for Active Learning*, section 3.
    """

    name: ClassVar[str] = "loss-prediction"
    aliases: ClassVar[tuple[str, ...]] = ("LLAL", "learning-loss")
    cite: ClassVar[str] = "Yoo and Kweon 2019, Learning Loss for Active Learning"
    cost: ClassVar[str] = "O(n + k log k); making the column is one forward pass"
    when: ClassVar[str] = "a network that can be trained with the module (foresift train --loss-prediction)"
    needs: ClassVar[tuple[str, ...]] = ("predicted-loss",)
    prefix: ClassVar[bool] = True

    subset: int = 0

    def __post_init__(self) -> None:
        check_at_least(0, subset=self.subset)

    def check_budget(self, budget: int) -> None:
        """Refuse a budget above the subset."""
        if 0 < self.subset < budget:
            raise UsageError(f"{self.name} looks at a subset of {self.subset}, fewer than the budget of {budget}")

    def values(self, query: Query) -> Values | None:
        """(n,) the predicted loss; with a subset not every candidate has a rank."""
        return None if self.subset else self._losses(query)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The k largest predicted losses, of the subset where there is one."""
        values = check_finite(self._losses(query), query, name=self.name)
        seen = self._seen(len(query), rng)
        if query.budget > len(seen):
            self.check_budget(query.budget)
        rows = seen[top_k(values[seen], query.budget)]
        return Picks(rows=rows, scores=values[rows], details={"looked_at": len(seen)})

    def _losses(self, query: Query) -> Values:
        losses: Values = query.column("predicted-loss")
        return losses

    def _seen(self, n: int, rng: np.random.Generator) -> Rows:
        """Rows of the candidates that are looked at, ascending."""
        if not self.subset or self.subset >= n:
            return np.arange(n, dtype=np.intp)
        return np.sort(top_k(rng.bit_generator.random_raw(n), self.subset))
