"""Diverse batches: k-DPPs on the embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.queries import Picks, Query
from foresift.selection.registry import strategy
from foresift.strategies.dpp_strategy import DppStrategy, every_candidate


@strategy
@dataclass(frozen=True, kw_only=True)
class KDpp(DppStrategy):
    """k-DPP: sets of picks with probability prop. to the squared volume that their embeddings span.

    Similar samples rarely come together, copies never while the kernel has the rank. No labels and
    no model outputs but embeddings are needed, so it also serves for the very first batch.

    Up to 2,000 rows the sample is exact for the RBF kernel, beyond that for the inner products of
    random Fourier features, whose number is in the details.
    Cost: O(n D (d + D) + D^3 + k^3 log k) time, O(D^2 + n) memory; D = 2 k features.
    Source: Kulesza and Taskar 2011; rejection of Barthelme et al. 2023; greedy maximum of Chen et al. 2018.
    """

    name: ClassVar[str] = "k-dpp"
    aliases: ClassVar[tuple[str, ...]] = ("DPP",)
    cite: ClassVar[str] = "Kulesza and Taskar 2011"
    cost: ClassVar[str] = "O(n D^2 + D^3 + k^3 log k) time, O(D^2) memory, D = 2 k"
    when: ClassVar[str] = "a diverse batch, the first one too; no uncertainty needed"

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """A draw of the k-DPP, or its greedy maximum."""
        if query.budget == len(query):
            return every_candidate(query)
        similarity = self.similarity(query, rng)
        return self.picks(similarity.ensemble(), query, rng, approx=similarity.approx, details=similarity.details)
