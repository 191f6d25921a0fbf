"""TypiClust: the most typical candidate of every cluster that no label covers yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.kmeans import kmeans
from foresift.kernels.typicality import mean_neighbour_distance
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy

NEIGHBOURS = 20
"""Nearest neighbours that count for typicality."""
SMALLEST = 5
"""Clusters of fewer rows come last."""
WORK = 1 << 40
"""Products up to which neighbours are looked for among all members of a cluster; beyond, among a sample."""
Counts = npt.NDArray[np.int64]


@strategy
@dataclass(frozen=True, kw_only=True)
class TypiClust(Strategy):
    """Typical samples of clusters without labels: k-means of labeled and unlabeled rows, one pick a cluster in turn.

    There are min(labeled + k, ``max_clusters``) clusters; they are served from the fewest labeled rows up,
    of those the largest first, again and again until the budget is met; each gives its candidates in
    order of typicality, 1 / (mean distance to the min(20, half the cluster) nearest candidates in it).
    Clusters of fewer than 5 rows are served when the others have no candidate left; ``details`` says for
    how many picks.

    Args:
        max_clusters: 1 or more.
    Cost: that of k-means and O(sum of squared cluster sizes * d) time, bounded by ``WORK``; one float32 copy of
        the embeddings where that fits, else one block.
    Source: Hacohen et al. 2022, section 4.2; half the cluster as in the authors' code. Typicality is computed
        once a cluster, and not again after each of its picks: another result only beyond ``max_clusters``.
    """

    name: ClassVar[str] = "typiclust"
    aliases: ClassVar[tuple[str, ...]] = ("TypiClust",)
    cite: ClassVar[str] = "Hacohen et al. 2022"
    cost: ClassVar[str] = "k-means and O(sum of squared cluster sizes * d) time, O(n d) memory"
    when: ClassVar[str] = "few or no labels, and embeddings of a pre-trained model"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    max_clusters: int = 500

    def __post_init__(self) -> None:
        if self.max_clusters < 1:
            raise UsageError(f"max_clusters must be 1 or more, got {self.max_clusters}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The most typical candidate of each cluster in turn; no scores."""
        candidates, labeled = query.matrix("embeddings"), query.labeled_matrix("embeddings")
        n, k = len(candidates), min(len(labeled) + query.budget, self.max_clusters)
        clusters = kmeans(_together(candidates, labeled), k, rng)
        free = np.bincount(clusters.assignment[:n], minlength=k)
        used = np.bincount(clusters.assignment[n:], minlength=k)
        turns, fallback = served(free, used, query.budget)
        members = np.split(np.argsort(clusters.assignment[:n], kind="stable"), np.cumsum(free)[:-1])
        most = sample_size(free[np.unique(turns)], candidates.width)
        ranked = {int(c): iter(_by_typicality(candidates, members[c], most, rng)) for c in np.unique(turns)}
        rows = np.array([next(ranked[c]) for c in turns.tolist()], dtype=np.intp)
        approx = "; ".join(filter(None, [clusters.approx, _sampling(free[np.unique(turns)], most)]))
        details: dict[str, Any] = {"clusters": k, "picks_from_small_clusters": fallback}
        return Picks(rows=rows, solver=clusters.solver, approx=approx, details=details)


def served(free: Counts, used: Counts, budget: int) -> tuple[Rows, int]:
    """The cluster that gives each pick, and how many picks come from small clusters.

    Args:
        free: (k,) candidates of each cluster, ``budget`` or more in all.
        used: (k,) labeled rows of each cluster.
    """
    size = free + used
    order = np.lexsort((np.arange(len(free)), -size, used))
    large, small = order[size[order] >= SMALLEST], order[size[order] < SMALLEST]
    turns = np.concatenate([_in_turn(large, free), _in_turn(small, free)])[:budget]
    return turns, int((size[turns] < SMALLEST).sum())


def sample_size(free: Counts, width: int) -> int:
    """Rows of a cluster among which neighbours are looked for, at most."""
    return max(256, WORK // max(1, int(free.sum()) * width))


def _in_turn(order: Rows, free: Counts) -> Rows:
    """Every cluster as often as it has candidates: all once, in order, then all that have a second, and so on."""
    clusters = np.repeat(order, free[order])
    place = np.repeat(np.arange(len(order)), free[order])
    turn = np.arange(len(clusters)) - np.repeat(np.cumsum(free[order]) - free[order], free[order])
    return clusters[np.lexsort((place, turn))]


def _by_typicality(candidates: RowMatrix, members: Rows, most: int, rng: np.random.Generator) -> Rows:
    """The members of a cluster, most typical first; ties go to the lower row."""
    matrix, m = candidates.subset(members), len(members)
    neighbours = min(NEIGHBOURS, m // 2)
    among = np.arange(m)
    if m > most:
        among = np.sort(rng.permutation(m)[:most])
        neighbours = max(1, round(neighbours * most / m))
    return members[np.argsort(mean_neighbour_distance(matrix, neighbours, among), kind="stable")]


def _sampling(sizes: Counts, most: int) -> str:
    if not (sizes > most).any():
        return ""
    return (
        f"neighbours in clusters of more than {most} rows are looked for among {most} of them, drawn uniformly, "
        "and proportionally fewer count: an estimate of the same radius, without a bound"
    )


def _together(candidates: RowMatrix, labeled: RowMatrix) -> RowMatrix:
    """Candidates, then labeled rows; nothing is copied where both are rows of one array."""
    if not len(labeled):
        return candidates
    if candidates.array is labeled.array and candidates.rows is not None and labeled.rows is not None:
        return RowMatrix(array=candidates.array, rows=np.concatenate([candidates.rows, labeled.rows]))
    return RowMatrix(array=np.concatenate([candidates.whole(), labeled.whole()]))
