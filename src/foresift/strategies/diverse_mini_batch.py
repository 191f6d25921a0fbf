"""Diverse mini-batches: the most uncertain candidates, thinned by weighted k-means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.kmeans import representatives
from foresift.kernels.topk import top_k
from foresift.scores.registry import SCORES
from foresift.selection.base import Strategy, check_finite
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class DiverseMiniBatch(Strategy):
    """The beta k candidates of smallest margin, clustered with their uncertainty as weight; one for each of k centres.

    With ``beta=1`` the picks are those of margin, in another order. Weights that are all 0 count as equal.

    Args:
        beta: candidates kept for each pick, 1 or more; the paper uses 10 and 50.
    Cost: O(n c) for the margins, O(beta k^2 d) time a pass of k-means, O(n + beta k d) memory.
    Source: Zhdanov 2019, section 3: weighted k-means; the weight is 1 - (p1 - p2).
    """

    name: ClassVar[str] = "diverse-mini-batch"
    aliases: ClassVar[tuple[str, ...]] = ("DBAL", "DiverseMiniBatch")
    cite: ClassVar[str] = "Zhdanov 2019"
    cost: ClassVar[str] = "O(n c + beta k^2 d) time a pass, O(n + beta k d) memory"
    when: ClassVar[str] = "large batches, where the most uncertain samples look alike"
    needs: ClassVar[tuple[str, ...]] = ("logits", "embeddings")

    beta: int = 10

    def __post_init__(self) -> None:
        if self.beta < 1:
            raise UsageError(f"beta must be 1 or more candidates a pick, got {self.beta}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """One candidate a cluster, from the largest cluster down, with the margin scores."""
        values = check_finite(SCORES.get("margin").over(len(query), query.block), query, name=self.name)
        kept = self._kept(values, query.budget)
        chosen = representatives(query.matrix("embeddings").subset(kept), query.budget, rng, weights=values[kept])
        rows = kept[chosen.rows]
        details = {"kept": len(kept)}
        return Picks(rows=rows, scores=values[rows], solver=chosen.solver, approx=chosen.approx, details=details)

    def _kept(self, values: Values, budget: int) -> Rows:
        """The beta k most uncertain candidates, in order of row."""
        return np.sort(top_k(values, min(self.beta * budget, len(values))))
