"""The samples with the largest values of one score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.queries import Picks, Query
from foresift.kernels.topk import top_k
from foresift.scores.registry import Score
from foresift.selection.base import Strategy, check_finite


@dataclass(frozen=True, kw_only=True)
class TopK(Strategy):
    """The k largest values of a score, largest first; ties by id. One subclass for each score.

    Cost: that of the score, and O(n + k log k); no randomness.
    """

    score: ClassVar[Score]
    cost: ClassVar[str] = "O(n c) time, one block of memory"
    prefix: ClassVar[bool] = True

    def values(self, query: Query) -> Values:
        """(n,) the score of every candidate."""
        return self.score.over(len(query), query.block)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """The k best rows with their scores."""
        values = check_finite(self.values(query), query, name=self.name)
        rows = top_k(values, query.budget)
        return Picks(rows=rows, scores=values[rows])


def top_of(score: Score) -> type[TopK]:
    """The strategy that takes the largest values of ``score``, under the score's name."""
    body = {
        "__doc__": score.summary,
        "__module__": TopK.__module__,
        "name": score.name,
        "aliases": score.aliases,
        "cite": score.cite,
        "when": score.when,
        "needs": score.needs,
        "score": score,
    }
    return type(f"TopK_{score.name.replace('-', '_')}", (TopK,), body)
