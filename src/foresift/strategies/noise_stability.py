"""The images on which the network's answer is least stable under noise on its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.queries import Picks, Query
from foresift.core.ranges import check_at_least, check_one_of, check_within
from foresift.kernels.k_center import k_center
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy, check_finite
from foresift.selection.registry import strategy

MODES = ("variance", "kcenter")


@strategy
@dataclass(frozen=True, kw_only=True)
class NoiseStability(Strategy):
    """Large answers to small noise: by their mean square, or spread out by greedy k-center.

    ``variance`` ranks by mean_k ||f(theta_k, x) - f(theta, x)||^2, as Frickenstein et al. 2024 use it.
    ``kcenter`` is the authors' own: always the vector of deviations that is farthest from all picks, so
    that images are chosen that are unstable in different ways; the first is the longest vector, which
    the paper leaves open. The other parameters are those of the pass that makes the
    column ``deviations``; the authors' code has ``scale=relative``.

    Source: Li et al. 2024, *Deep Active Learning with Noise Stability* (arXiv 2205.13340), algorithm 1.
    """

    name: ClassVar[str] = "noise-stability"
    aliases: ClassVar[tuple[str, ...]] = ("NoiseStability",)
    cite: ClassVar[str] = "Li et al. 2024, Deep Active Learning with Noise Stability"
    cost: ClassVar[str] = "O(n w) (variance) or O(n k w) (kcenter), w = draws x c; making the column: draws + 1 passes"
    when: ClassVar[str] = "one trained network and no dropout: a stand-in for an ensemble's disagreement"
    needs: ClassVar[tuple[str, ...]] = ("deviations",)
    prefix: ClassVar[bool] = True

    mode: str = "variance"
    draws: int = 10
    xi: float = 0.001
    of: str = "logits"
    scale: str = "absolute"
    noise_seed: int = 0

    def __post_init__(self) -> None:
        check_one_of(MODES, mode=self.mode)
        check_one_of(("logits", "embeddings"), of=self.of)
        check_one_of(("absolute", "relative"), scale=self.scale)
        check_at_least(1, draws=self.draws)
        check_at_least(0, noise_seed=self.noise_seed)
        check_within(0, 1, xi=self.xi)

    def values(self, query: Query) -> Values | None:
        """(n,) mean square deviation of each candidate; ``kcenter`` ranks nothing."""
        return self._mean_squares(query) if self.mode == "variance" else None

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """The k least stable rows, or the k that cover the deviations."""
        squares = check_finite(self._mean_squares(query), query, name=self.name)
        if self.mode == "variance":
            rows = top_k(squares, query.budget)
            return Picks(rows=rows, scores=squares[rows])
        deviations = query.matrix("deviations")
        centres = query.labeled_matrix("deviations")
        first = None if len(centres) else int(np.argmax(squares))
        found = k_center(deviations, query.budget, centres=centres, first=first)
        return Picks(rows=found.rows, solver="greedy")

    def _mean_squares(self, query: Query) -> Values:
        matrix = query.matrix("deviations")
        squares = np.empty(len(matrix))
        for start, stop, rows in matrix.blocks():
            squares[start:stop] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / self.draws
        return squares
