"""Cover the pool: label the candidate that is farthest from everything labeled or picked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.distances import UnitRows
from foresift.kernels.k_center import central_row, k_center
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy

METRICS = ("euclidean", "cosine")
STARTS = ("central", "random")


@strategy
@dataclass(frozen=True, kw_only=True)
class KCenter(Strategy):
    """Greedy k-center on embeddings: each pick is the candidate farthest from all labeled and picked ones.

    The largest distance that is left, the covering radius, is at most twice the smallest that any
    choice of as many candidates could reach. Labeled samples with embeddings are centres from the
    start; without any, the first pick is the candidate nearest to the pool mean, or drawn. The
    score of a pick is its distance when it was picked; that of a first pick without any centre is
    the covering radius it leaves.

    Args:
        metric: ``euclidean``; or ``cosine``: Euclidean between rows scaled to length 1, which is
            ``sqrt(2 - 2 cosine)``; zero rows stay at the origin.
        first: ``central`` or ``random``, where nothing is labeled.
    Cost: O(n d (m + k)) at most, see ``kernels.k_center``.
    Source: Gonzalez 1985; Sener and Savarese 2018, algorithm 1.
    """

    name: ClassVar[str] = "k-center"
    aliases: ClassVar[tuple[str, ...]] = ("KCenterGreedy", "KCG")
    cite: ClassVar[str] = "Gonzalez 1985; Sener and Savarese 2018, algorithm 1"
    cost: ClassVar[str] = "at most n (m + k) d time for m labeled, mostly a few hundredths of it; n d memory"
    when: ClassVar[str] = "to cover the pool evenly; rare and odd samples come first"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    prefix: ClassVar[bool] = True

    metric: str = "euclidean"
    first: str = "central"

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, METRICS)
        check_choice("first", self.first, STARTS)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """k rows by falling distance; ``details`` say which covering radius they leave."""
        matrix, centres = measured_in(self.metric, query.matrix("embeddings"), query.labeled_matrix("embeddings"))
        first = None if len(centres) else self._first(matrix, rng)
        beyond = min(query.budget + 1, len(query))  # the pick after the last is as far as the radius is wide
        found = k_center(matrix, beyond, centres=centres, first=first)
        radius = float(found.distances[query.budget]) if beyond > query.budget else 0.0
        scores = finite_scores(found.distances)[: query.budget]
        return Picks(rows=found.rows[: query.budget], scores=scores, solver="greedy", details={"radius": radius})

    def _first(self, matrix: RowMatrix, rng: np.random.Generator) -> int:
        return int(rng.integers(len(matrix))) if self.first == "random" else central_row(matrix)


def measured_in(metric: str, *matrices: RowMatrix) -> tuple[RowMatrix, ...]:
    """The matrices as they are, or with rows of length 1 for ``cosine``."""
    if metric == "cosine":
        return tuple(UnitRows(array=matrix.array, rows=matrix.rows) for matrix in matrices)
    return matrices


def finite_scores(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(k,) distances; an infinite first one, of a pick without centres, becomes the radius that it left."""
    scores = distances.copy()
    if np.isinf(scores[0]):
        scores[0] = scores[1] if len(scores) > 1 else 0.0
    return scores


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``UsageError`` unless the parameter's value is one of the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
