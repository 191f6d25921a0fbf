"""k-means: k centres that are the means of the rows nearest to them, and the distinct rows that stand for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from foresift.core.arrays import Rows, Values
from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels.blocks import BLOCK_ELEMENTS, row_blocks
from foresift.kernels.d2_sampling import EuclideanPoints, d2_sample
from foresift.kernels.distances import nearest, squared_distances
from foresift.kernels.moving_centres import MovingCentres, moving_centres
from foresift.kernels.topk import top_k

WHOLE_WORK = 1 << 35
"""Products a pass (n k d) up to which all rows take part in every pass: 67,000 rows of 512 for 1,000 centres."""
LARGEST_SAMPLE = 1 << 18
"""Rows of a sample at most, where that leaves ``ROWS_A_CENTRE``: half a GiB of rows of 512."""
ROWS_A_CENTRE = 16
"""A sample holds at least so many rows for every centre."""
TOLERANCE = 1e-4
"""Passes end when the inertia falls by less than this share."""
DEPTH = 8
"""Nearest rows looked up for a centre at first; more, where other centres have taken all of them."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """k centres and the rows nearest to each."""

    centres: Floats
    """(k, d)"""
    assignment: Rows
    """(n,) the nearest centre of every row, the first of equally near ones."""
    inertia: float
    """Sum over rows of weight * squared distance to the nearest centre."""
    solver: str
    approx: str
    """Empty where all rows took part and the passes ended by themselves."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(k,) rows of every cluster; 0 for a centre that is a copy of another."""
        return np.bincount(self.assignment, minlength=len(self.centres))


def kmeans(
    matrix: RowMatrix,
    k: int,
    rng: np.random.Generator,
    *,
    weights: Values | None = None,
    max_iterations: int = 100,
) -> Clusters:
    """k-means clusters: Lloyd's passes from a k-means++ start.

    Where n k d is above ``WHOLE_WORK``, a uniform sample of the rows is clustered, and one pass over
    all rows follows; ``approx`` says so. Rows fewer than k in kind give centres without rows.

    Args:
        matrix: (n, d), finite.
        k: within 1 .. n.
        weights: (n,) 0 or more; None, or all 0, means equal.
        max_iterations: passes, 1 or more.
    Raises:
        UsageError: k, weights or max_iterations out of range.
    Cost: O(n k d) time a pass, at most ``WHOLE_WORK`` or 16 k^2 d in the passes over a sample; memory
        one float32 copy of the rows where all take part and that fits, two of a sample, else one block; beside
        that (n, k) bounds of up to half a GiB.
    Source: Lloyd 1982; Arthur and Vassilvitskii 2007. A cluster without rows moves to the row that is
        farthest from its centre.
    """
    weight = _checked_weights(matrix, k, weights, max_iterations)
    whole = len(matrix) * k * matrix.width <= WHOLE_WORK
    clusters = (_from_all if whole else _from_sample)(matrix, k, rng, weight, max_iterations)
    if not np.isfinite(clusters.inertia):
        raise NonFiniteError("k-means needs finite numbers of moderate size; a row is at no finite distance")
    return clusters


def kmeans_plus_plus(matrix: RowMatrix, k: int, rng: np.random.Generator, weights: Values | None = None) -> Rows:
    """(k,) distinct rows by D^2 sampling, the first one uniform (proportional to the weights, where given).

    Args:
        matrix: (n, d), finite.
        k: within 1 .. n.
        weights: (n,) 0 or more; None, or all 0, means equal.
    Cost: O(n k d) time in about k / 64 passes; memory one float32 copy of the rows where that fits, else one block.
    Source: Arthur and Vassilvitskii 2007.
    """
    return _seeds(EuclideanPoints(matrix), k, rng, _checked_weights(matrix, k, weights, 1))


def nearest_unused(matrix: RowMatrix, clusters: Clusters) -> Rows:
    """(k,) distinct rows, one a cluster from the largest down: the row nearest to its centre that is not taken.

    Ties go to the lower row among the ``DEPTH`` rows first looked up (which rows are among these, float32
    decides), between clusters of one size to the lower cluster.

    Args:
        matrix: (n, d), n >= k.
    Cost: O(n k d) time for a pass; another pass for the clusters whose nearest rows are all taken.
    """
    waiting = np.lexsort((np.arange(len(clusters.centres)), -clusters.sizes))
    used, picks, depth = np.zeros(len(matrix), dtype=np.bool_), list[int](), DEPTH
    while len(waiting):
        near = _nearest_rows(matrix, clusters.centres[waiting], depth, used)
        served = 0
        for centre, rows in zip(clusters.centres[waiting], near, strict=True):
            free = rows[~used[rows]]
            if not len(free):
                break
            picks.append(_nearest_of(matrix, free, centre))
            used[picks[-1]] = True
            served += 1
        if not served:
            raise NonFiniteError("no row is at a finite distance from a centre; the rows' numbers are too large")
        waiting, depth = waiting[served:], min(2 * depth, max(DEPTH, 16 * BLOCK_ELEMENTS // len(waiting)))
    return np.asarray(picks, dtype=np.intp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Representatives:
    """k distinct rows that stand for all."""

    rows: Rows
    """(k,) from the largest cluster down."""
    solver: str
    approx: str


def representatives(
    matrix: RowMatrix, k: int, rng: np.random.Generator, *, weights: Values | None = None
) -> Representatives:
    """The distinct rows nearest to k k-means centres; all rows, in order, where k is n.

    Args and cost as for :func:`kmeans` and :func:`nearest_unused`.
    """
    if k == len(matrix):
        return Representatives(rows=np.arange(k), solver="all", approx="")
    clusters = kmeans(matrix, k, rng, weights=weights)
    return Representatives(rows=nearest_unused(matrix, clusters), solver=clusters.solver, approx=clusters.approx)


def _checked_weights(matrix: RowMatrix, k: int, weights: Values | None, passes: int) -> npt.NDArray[np.float64]:
    n = len(matrix)
    if not 1 <= k <= n:
        raise UsageError(f"k-means needs between 1 and {n} clusters, one for each row at most, got {k}")
    if passes < 1:
        raise UsageError(f"k-means needs at least one iteration, got {passes}")
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (n,) or not (np.isfinite(weight).all() and weight.min() >= 0):
        raise UsageError(f"k-means needs a finite weight of 0 or more for each of the {n} rows")
    return weight if weight.any() else np.ones(n)


def _seeds(points: EuclideanPoints, k: int, rng: np.random.Generator, weights: npt.NDArray[np.float64]) -> Rows:
    cumulative = np.cumsum(weights)
    first = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return d2_sample(points, min(first, len(points) - 1), k, rng, weights=weights)


def _from_all(
    matrix: RowMatrix, k: int, rng: np.random.Generator, weights: npt.NDArray[np.float64], max_iterations: int
) -> Clusters:
    points = EuclideanPoints(matrix)
    clusters = _from_start(points, k, rng, weights, max_iterations)
    return replace(clusters, centres=points.restored(clusters.centres))


def _from_start(
    points: EuclideanPoints, k: int, rng: np.random.Generator, weights: npt.NDArray[np.float64], max_iterations: int
) -> Clusters:
    matrix = points.matrix
    now = moving_centres(matrix, matrix.take(_seeds(points, k, rng, weights)))
    previous = np.inf
    for _ in range(max_iterations):
        inertia = float(weights @ now.distances)
        if previous - inertia <= TOLERANCE * inertia:
            return _lloyd(now, inertia, approx="")
        now.move(_moved(matrix, weights, now.distances, now.assignment, now.centres))
        previous = inertia
    stopped = f"Lloyd's passes stopped after {max_iterations}, before they ended by themselves"
    return _lloyd(now, float(weights @ now.distances), approx=stopped)


def _lloyd(now: MovingCentres, inertia: float, *, approx: str) -> Clusters:
    return Clusters(centres=now.centres, assignment=now.assignment, inertia=inertia, solver="lloyd", approx=approx)


def _from_sample(
    matrix: RowMatrix, k: int, rng: np.random.Generator, weights: npt.NDArray[np.float64], max_iterations: int
) -> Clusters:
    """Clusters of a sample, moved by one pass over all rows."""
    n = len(matrix)
    size = min(n, max(min(WHOLE_WORK // (k * matrix.width), LARGEST_SAMPLE), ROWS_A_CENTRE * k))
    weighty = np.flatnonzero(weights)
    among = weighty if len(weighty) >= k else np.arange(n)
    rows = np.sort(rng.permutation(among)[:size])
    start = _from_all(RowMatrix(array=matrix.take(rows)), k, rng, weights[rows], max_iterations).centres
    distances, assignment = nearest(matrix, start)
    centres = _moved(matrix, weights, distances, assignment, start)
    distances, assignment = nearest(matrix, centres)
    approx = (
        f"k-means of {len(rows)} of {n} rows, drawn uniformly, and one pass over all: "
        "near a local optimum of the sample, without a bound for the whole"
    )
    inertia = float(weights @ distances)
    return Clusters(centres=centres, assignment=assignment, inertia=inertia, solver="lloyd-sample", approx=approx)


def _moved(
    points: RowMatrix, weights: npt.NDArray[np.float64], distances: Floats, assignment: Rows, centres: Floats
) -> Floats:
    """(k, d) the weighted mean of every cluster; a cluster without weight goes to the row farthest from its centre."""
    k = len(centres)
    totals = np.bincount(assignment, weights, minlength=k)
    means = _weighted_sums(points, weights, assignment, k) / np.where(totals > 0, totals, 1)[:, None]
    moved = np.where(totals[:, None] > 0, means, centres).astype(np.float32)
    empty = np.flatnonzero(totals == 0)
    errors = weights * distances
    far = top_k(errors, min(len(empty), len(points)))
    far = far[errors[far] > 0]
    moved[empty[: len(far)]] = points.take(far)
    return np.asarray(moved)


def _weighted_sums(
    points: RowMatrix, weights: npt.NDArray[np.float64], assignment: Rows, k: int
) -> npt.NDArray[np.float64]:
    """(k, d) the weighted sum of the rows of every cluster; float32 within a block, float64 between blocks."""
    sums = np.zeros((k, points.width))
    for start, stop, rows in points.blocks():
        at = (assignment[start:stop], np.arange(stop - start))
        sums += csr_array((weights[start:stop].astype(np.float32), at), shape=(k, stop - start)) @ rows
    return sums


def _nearest_rows(matrix: RowMatrix, centres: Floats, depth: int, used: npt.NDArray[np.bool_]) -> list[Rows]:
    """For each of m centres the ``depth`` nearest unused rows, or all that are left; O(n m d) time."""
    m = len(centres)
    origin = centres.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved = centres - origin
    best = _Shortlist(m, depth)
    for start, _, rows in matrix.blocks():
        for low, high in row_blocks(len(rows), width=m):
            distances = squared_distances(rows[low:high] - origin, moved)
            distances[used[start + low : start + high]] = np.inf
            best.add(start + low, distances)
    return best.rows()


class _Shortlist:
    """The nearest rows of each of m centres, from blocks of distances; equally near ones by row."""

    def __init__(self, m: int, depth: int) -> None:
        self._depth = depth
        self._worst = np.full(m, np.inf, dtype=np.float32)
        self._centre = np.empty(0, dtype=np.intp)
        self._row = np.empty(0, dtype=np.intp)
        self._distance = np.empty(0, dtype=np.float32)

    def add(self, start: int, distances: Floats) -> None:
        """Take in the (b, m) distances of the rows from ``start`` on; rows come in ascending order."""
        row, centre = np.nonzero(distances < self._worst)
        if not len(row):
            return
        self._centre = np.concatenate([self._centre, centre])
        self._row = np.concatenate([self._row, row + start])
        self._distance = np.concatenate([self._distance, distances[row, centre]])
        self._cut()

    def rows(self) -> list[Rows]:
        """The rows of each centre, nearest first."""
        bounds = np.searchsorted(self._centre, np.arange(1, len(self._worst)))
        return np.split(self._row, bounds)

    def _cut(self) -> None:
        order = np.lexsort((self._row, self._distance, self._centre))
        centre = self._centre[order]
        rank = np.arange(len(order)) - np.searchsorted(centre, centre)
        keep = order[rank < self._depth]
        full = order[rank == self._depth - 1]
        self._worst[self._centre[full]] = self._distance[full]
        self._centre, self._row, self._distance = self._centre[keep], self._row[keep], self._distance[keep]


def _nearest_of(matrix: RowMatrix, rows: Rows, centre: Floats) -> int:
    """The nearest of a few rows by exact differences, the lower one of equally near ones."""
    ascending = np.sort(rows)
    differences = matrix.take(ascending).astype(np.float64) - centre
    return int(ascending[np.argmin((differences**2).sum(axis=1))])
