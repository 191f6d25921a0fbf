"""The candidates that differ most from what is labeled on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.queries import Picks, Query
from foresift.kernels.distances import mean_row, squared_distances_from
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy, check_finite
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class MeanDistance(Strategy):
    """Largest Euclidean distance from the mean of the labeled embeddings; from the pool mean if none is labeled.

    Picks of one batch may be much alike: nothing keeps them apart.

    Cost: O(n d + k log k) time, one block of memory.
    Source: Frickenstein et al. 2024 call it K-means; there is one mean, of all that is labeled.
        With nothing labeled they say nothing; here the mean is that of the candidates.
    """

    name: ClassVar[str] = "mean-distance"
    cite: ClassVar[str] = "Frickenstein et al. 2024, there called K-means"
    cost: ClassVar[str] = "n d time, one block of memory"
    when: ClassVar[str] = "a cheap baseline for novelty; picks of one batch may be much alike"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    prefix: ClassVar[bool] = True

    def values(self, query: Query) -> Values:
        """(n,) distance of every candidate to the mean; a row's value depends on that row and the mean alone."""
        matrix, labeled = query.matrix("embeddings"), query.labeled_matrix("embeddings")
        return np.sqrt(squared_distances_from(matrix, mean_row(labeled if len(labeled) else matrix)))

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """The k farthest rows with their distances."""
        matrix = query.matrix("embeddings")  # one row that is not finite would spoil the pool mean, so rows come first
        check_finite(squared_distances_from(matrix, np.zeros(matrix.width)), query, name="squared embedding norm")
        values = check_finite(self.values(query), query, name=self.name)
        rows = top_k(values, query.budget)
        return Picks(rows=rows, scores=values[rows])
