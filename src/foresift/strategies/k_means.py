"""The candidates nearest to k-means centres: a diverse batch, without a model's opinion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.queries import Picks, Query
from foresift.kernels.kmeans import representatives
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class KMeans(Strategy):
    """As many k-means clusters of the candidates as picks, and the candidate nearest to each centre.

    Clusters come from the largest down, and a candidate that another cluster took is passed over.
    Labeled samples take no part.

    Cost: O(n k d) time a pass, one float32 copy of the embeddings where that fits, else one block.
    Source: Lloyd 1982; as a strategy in Huang 2021 (DeepAL). Distinct picks are ours.
    """

    name: ClassVar[str] = "k-means"
    aliases: ClassVar[tuple[str, ...]] = ("KMeansSampling",)
    cite: ClassVar[str] = "Lloyd 1982; Arthur and Vassilvitskii 2007"
    cost: ClassVar[str] = "O(n k d) time a pass, O(n d) memory"
    when: ClassVar[str] = "a first batch, before there are labels"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """One candidate a cluster, from the largest cluster down; no scores."""
        chosen = representatives(query.matrix("embeddings"), query.budget, rng)
        return Picks(rows=chosen.rows, solver=chosen.solver, approx=chosen.approx)
