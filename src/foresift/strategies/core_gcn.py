"""Cover the pool as a graph network sees it that has learned what is labeled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.queries import Picks, Query
from foresift.core.ranges import check_at_least
from foresift.kernels.k_center import central_row, k_center
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy
from foresift.strategies.k_center import finite_scores


@strategy
@dataclass(frozen=True, kw_only=True)
class CoreGcn(Strategy):
    """Greedy k-center on the hidden features of a graph network that tells labeled from unlabeled samples.

    Each pick is the candidate farthest from all labeled and picked ones, in Euclidean distance. The
    parameters are those of the pass that makes the column ``gcn-embeddings``.

    Source: Caramalau, Bhattarai, Kim 2021, *Sequential Graph Convolutional Network for Active Learning*.
    """

    name: ClassVar[str] = "core-gcn"
    aliases: ClassVar[tuple[str, ...]] = ("CoreGCN",)
    cite: ClassVar[str] = "Caramalau et al. 2021, Sequential Graph Convolutional Network for Active Learning"
    cost: ClassVar[str] = "k-center on n x hidden; making the column takes O(n d hidden) an epoch"
    when: ClassVar[str] = "some labels exist, and the cover should lean towards what is unlike them"
    needs: ClassVar[tuple[str, ...]] = ("gcn-embeddings",)
    prefix: ClassVar[bool] = True

    hidden: int = 128
    epochs: int = 200
    fit_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, hidden=self.hidden, epochs=self.epochs)
        check_at_least(0, fit_seed=self.fit_seed)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """k rows by falling distance."""
        matrix, centres = query.matrix("gcn-embeddings"), query.labeled_matrix("gcn-embeddings")
        first = None if len(centres) else central_row(matrix)
        beyond = min(query.budget + 1, len(query))  # the first score is the distance of the second pick
        found = k_center(matrix, beyond, centres=centres, first=first)
        scores = finite_scores(found.distances)[: query.budget]
        return Picks(rows=found.rows[: query.budget], scores=scores, solver="greedy")
