"""D^2 sampling (k-means++): each pick with probability proportional to its squared distance to the nearest pick.

The distances of all rows to a pick cost a pass over the data. So picks are proposed in batches
from distances that may be out of date, hence too large, and each is accepted with probability
(distance now) / (distance when last computed): by rejection sampling the accepted picks follow
the law of sampling one by one, exactly, and a batch costs one matrix product instead of a pass a pick.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.core.errors import NonFiniteError
from foresift.core.matrices import RowMatrix
from foresift.kernels.distances import centred, mean_row, squared_distances

BATCH = 64
"""Most picks proposed together: wide enough for a matrix product, few enough that most are accepted."""
Floats = npt.NDArray[np.float32]


class Points(Protocol):
    """n points with squared distances between them."""

    def __len__(self) -> int: ...

    def to_nearest(self, picks: Rows) -> Iterator[tuple[int, int, Floats]]:
        """``(start, stop, (stop - start,))`` squared distance of all points to the nearest of m, block by block."""
        ...

    def between(self, picks: Rows) -> Floats:
        """(m, m) squared distances between m of the points."""
        ...


class EuclideanPoints:
    """The rows of a matrix; holds one centred float32 copy of it where that fits memory, else one block."""

    def __init__(self, matrix: RowMatrix) -> None:
        mean = mean_row(matrix)
        if not np.isfinite(mean).all():
            raise NonFiniteError("distances need finite numbers; a row holds NaN or infinity")
        self._held = matrix.fits_memory
        self._mean = mean.astype(np.float32)
        self.matrix = RowMatrix(array=centred(matrix, mean)) if self._held else matrix

    def __len__(self) -> int:
        return len(self.matrix)

    def to_nearest(self, picks: Rows) -> Iterator[tuple[int, int, Floats]]:
        """See :class:`Points`; one matrix product a block."""
        centres = self._centred(self.matrix.take(picks))
        for start, stop, rows in self.matrix.blocks():
            yield start, stop, squared_distances(self._centred(rows), centres).min(axis=1)

    def between(self, picks: Rows) -> Floats:
        """See :class:`Points`."""
        rows = self._centred(self.matrix.take(picks))
        return squared_distances(rows, rows)

    def restored(self, rows: Floats) -> Floats:
        """Rows in the place of ``matrix``, moved back to where the given rows lay."""
        return rows + self._mean if self._held else rows

    def _centred(self, rows: Floats) -> Floats:
        return rows if self._held else rows - self._mean


def d2_sample(points: Points, first: int, k: int, rng: np.random.Generator, *, weights: Values | None = None) -> Rows:
    """``first`` and k - 1 further distinct rows, each drawn proportionally to weight * D^2.

    Where no row is left with weight * D^2 above 0 (copies of the picks), the rest is drawn uniformly
    from the rows that are not picked.

    Args:
        points: n points.
        first: row of the first pick.
        k: within 1 .. n.
        weights: (n,) 0 or more; None means equal.
    Cost: O(n k) distances in about k / ``BATCH`` passes over the points, O(n + block) memory beside them.
    Source: Arthur and Vassilvitskii 2007, k-means++; proposals by rejection as in the module's first lines.
    """
    picked, fresh = [first], [first]
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    while len(picked) < k:
        _come_nearer(points, nearest, np.asarray(fresh))
        cumulative = np.cumsum(nearest if weights is None else nearest * weights, dtype=np.float64)
        if not cumulative[-1] > 0:
            return np.concatenate([picked, _uniform_rest(len(points), picked, k, rng)]).astype(np.intp)
        if not np.isfinite(cumulative[-1]):
            raise NonFiniteError("squared distances overflow: the embeddings are too large; divide them by a constant")
        proposed = _propose(cumulative, min(k - len(picked), len(picked), BATCH), rng)
        fresh = _accepted(points.between(proposed), nearest[proposed], proposed, rng)
        picked += fresh
    return np.asarray(picked, dtype=np.intp)


def _come_nearer(points: Points, nearest: Floats, picks: Rows) -> None:
    """Lower every point's distance to the nearest pick by the distances to ``picks``, which become 0."""
    for start, stop, distances in points.to_nearest(picks):
        np.minimum(nearest[start:stop], distances, out=nearest[start:stop])
    nearest[picks] = 0


def _propose(cumulative: npt.NDArray[np.float64], m: int, rng: np.random.Generator) -> Rows:
    """(m,) rows drawn with replacement, each with the probability of its step in ``cumulative``."""
    last = int(np.searchsorted(cumulative, cumulative[-1]))  # the last row with a step: rounding may lead beyond it
    rows = np.searchsorted(cumulative, rng.random(m) * cumulative[-1], side="right")
    return np.asarray(np.minimum(rows, last), dtype=np.intp)


def _accepted(between: Floats, stale: Floats, proposed: Rows, rng: np.random.Generator) -> list[int]:
    """Those proposals, in order, that sampling one by one would take; the first always is."""
    between[proposed[:, None] == proposed] = 0
    now, draws = stale.copy(), rng.random(len(proposed))
    taken = []
    for at, row in enumerate(proposed.tolist()):
        if draws[at] * stale[at] < now[at]:
            taken.append(row)
            np.minimum(now, between[at], out=now)
    return taken


def _uniform_rest(n: int, picked: list[int], k: int, rng: np.random.Generator) -> Rows:
    left = np.setdiff1d(np.arange(n), picked)
    return rng.permutation(left)[: k - len(picked)]
