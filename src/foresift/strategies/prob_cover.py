"""Picks whose neighbourhoods cover as much of the pool as possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels import neighbours
from foresift.kernels.coverage import Coverage, greedy_max_cover
from foresift.kernels.greedy import Greedy, lazy_greedy
from foresift.kernels.k_center import k_center
from foresift.kernels.kmeans import kmeans
from foresift.kernels.neighbours import SquaredDistance, Within, distance_to_another_group, radius_graph
from foresift.kernels.similarities import ComputedSimilarity, Prepared
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy
from foresift.strategies.greedy_coverage import reference_rows, sampled_references

PURITY = 0.95
"""Share of candidates whose neighbourhood holds one pseudo-label only."""
PURITY_ROWS = 5000
"""Candidates, evenly spaced in order of id, on which purity is measured."""
BELOW = 1 - 1e-3
"""The automatic radius stays so far below the distance that would spoil purity: float32 distances differ by less."""


@strategy
@dataclass(frozen=True, kw_only=True)
class ProbCover(Strategy):
    """ProbCover: greedy maximum coverage by balls of one radius around picks and labeled samples.

    Labeled samples cover first. Once every candidate is covered, picking goes on with the one that is
    farthest from all picks and labeled samples, whose score is 0; the receipt says from which pick on.
    Scores are the share of candidates that each pick covers anew.

    Args:
        delta: radius of a ball, in units of the embeddings; 0 = the largest for which the balls of
            95 % of the candidates hold a single k-means cluster each.
        clusters: k of that k-means; the paper uses the number of classes.
        references: candidates, drawn at random, on which coverage is measured; 0 = all up to
            100,000 candidates, else 20,000.
    Cost: O(n^2 d) time; memory 4 n d bytes and up to 2 GiB for neighbours. Where there are more, their
        balls are computed again and again instead, with the same picks.
    Source: Yehuda et al. 2022, algorithm 1 and section 3.3. The radius is computed, not searched for: a
        ball is pure up to the distance to the nearest candidate of another cluster, and the radius is
        the 5 % quantile of these. What to do when all is covered is ours.
    """

    name: ClassVar[str] = "prob-cover"
    cite: ClassVar[str] = "Yehuda et al. 2022"
    cost: ClassVar[str] = "O(n^2 d) time, O(n d) memory; beyond 100,000 candidates O(20,000 n d)"
    when: ClassVar[str] = "the first labels, fewer than a few for each class, on self-supervised embeddings"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    prefix: ClassVar[bool] = True
    delta: float = 0.0
    clusters: int = 10
    references: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.delta < np.inf:
            raise UsageError(f"{self.name}: delta must be 0 (automatic) or above and finite, got {self.delta}")
        if self.clusters < 1:
            raise UsageError(f"{self.name}: clusters must be 1 or more, got {self.clusters}")
        if self.references < 0:
            raise UsageError(f"{self.name}: references must be 0 or more, got {self.references}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The candidates that cover most, then those that are farthest away."""
        n, k, matrix = len(query), query.budget, query.matrix("embeddings")
        delta = self.delta or pure_radius(matrix, self.clusters, rng)
        references = reference_rows(n, self.references, rng)
        labeled = _labeled(query)
        found, covered = max_cover(matrix, labeled, references, delta, k)
        rest = _farthest(matrix, labeled, found.rows, k - len(found.rows))
        return Picks(
            rows=np.concatenate([found.rows, rest]),
            scores=np.concatenate([found.gains / len(references), np.zeros(len(rest))]),
            solver="greedy",
            approx=sampled_references(n, k, len(references)) if len(references) < n else "",
            details={
                "delta": float(np.minimum(delta, np.finfo(np.float32).max)),
                "coverage": float(covered.mean()),
                "picks_that_cover": len(found.rows),
                "then": "farthest first" if len(rest) else "",
            },
        )


def pure_radius(matrix: RowMatrix, clusters: int, rng: np.random.Generator) -> float:
    """The largest radius at which the balls of ``PURITY`` of the rows hold one k-means cluster each.

    With one cluster every ball is pure, and the radius is infinite.
    """
    n = len(matrix)
    groups = kmeans(matrix, min(clusters, n), rng).assignment
    rows = np.arange(0, n, -(-n // PURITY_ROWS))
    reach = np.sort(distance_to_another_group(matrix, groups, rows))
    return float(reach[int((1 - PURITY) * len(reach) + 1e-9)]) * BELOW


def max_cover(
    matrix: RowMatrix, labeled: RowMatrix | None, references: npt.NDArray[np.intp], delta: float, k: int
) -> tuple[Greedy, npt.NDArray[np.bool_]]:
    """Up to k picks that each cover something new, and the (r,) references that are covered in the end."""
    kernel = Within(SquaredDistance.around(matrix), delta)
    candidates = Prepared.of(matrix, kernel)
    among = candidates if len(references) == len(matrix) else candidates.subset(references)
    similarity = ComputedSimilarity(candidates=candidates, references=among)
    covered = np.zeros(len(references), dtype=np.float32)
    if labeled is not None:
        similarity.cover_by(Prepared(kernel=kernel, matrix=labeled, ready=False), covered)
    if (graph := radius_graph(similarity, max_edges=neighbours.MAX_EDGES)) is not None:
        done = covered > 0
        return greedy_max_cover(graph, k, done), done
    found = lazy_greedy(Coverage(similarity, covered), k)
    useful = found.gains > 0
    return Greedy(rows=found.rows[useful], gains=np.round(found.gains[useful])), covered > 0


def _labeled(query: Query) -> RowMatrix | None:
    return query.labeled_matrix("embeddings") if query.labeled_columns else None


def _farthest(
    matrix: RowMatrix, labeled: RowMatrix | None, picked: npt.NDArray[np.intp], k: int
) -> npt.NDArray[np.intp]:
    """(k,) further rows by greedy k-center around what is labeled and picked."""
    left = np.setdiff1d(np.arange(len(matrix)), picked)
    parts = [matrix.take(picked)] if labeled is None else [labeled.whole(), matrix.take(picked)]
    centres = RowMatrix(array=np.concatenate(parts))
    return left[k_center(matrix.subset(left), k, centres=centres).rows]
