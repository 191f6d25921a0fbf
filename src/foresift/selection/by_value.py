"""Strategies that take the candidates of largest value, where the value has parameters of its own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.queries import Picks, Query
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy, check_finite


@dataclass(frozen=True, kw_only=True)
class ByValue(Strategy):
    """The k candidates of largest :meth:`values`, largest first; ties by id.

    Cost: that of the values, and O(n + k log k); no randomness.
    """

    prefix: ClassVar[bool] = True

    @abstractmethod
    def values(self, query: Query) -> Values:
        """(n,) the value by which each candidate is ranked."""

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """The k best rows with their values."""
        values = check_finite(self.values(query), query, name=self.name)
        rows = top_k(values, query.budget)
        return Picks(rows=rows, scores=values[rows])
