"""Greedy maximum of log det(L_Y): each pick is the row with the largest residual, found lazily.

A row's residual, L_jj less what the picks explain of it, only shrinks. So an old residual is an
upper bound: only rows whose bound reaches the largest fresh one are brought up to date, many
picks and many rows in one matrix product. The picks are those of the eager algorithm.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from foresift.core.arrays import Rows
from foresift.kernels.dpp_features import SINGULAR, Array
from foresift.kernels.dpp_projection import ReadRows

FIRST_BLOCK = 64
LARGEST_BLOCK = 4096
"""Rows that are brought up to date at once: the first block of a pick, and at most."""


class Greedy(NamedTuple):
    """What greedy maximisation found."""

    rows: Rows
    """(k',) picks in order; fewer than were asked for where the rank of L is exhausted."""
    gains: Array
    """(k',) residual of each pick when it was picked: their product is det(L_Y). Never rising."""
    refreshed: int
    """Residuals brought up to date; n times k' for the eager algorithm."""


class Explained(Protocol):
    """What the picks so far explain of other rows, pick by pick."""

    def coordinates(self, which: Rows, first: int, last: int) -> Array:
        """(b, last - first) coordinates of rows along some picks; their squares add up to what is explained."""

    def append(self, row: int) -> None:
        """Add a pick."""


def greedy_map(diagonal: Array, explained: Explained, k: int, *, share: float = SINGULAR) -> Greedy:
    """Up to k rows that greedily maximise log det(L_Y); ties go to the lower row.

    Exact greedy: the same picks as the eager algorithm. Ends where the largest residual falls
    below ``share`` of the largest L_jj: the rank of L is exhausted and det(L_Y) is 0 from here on.
    At most O(n k D) time with features of D numbers; O(n) memory beside ``explained``.

    Args:
        diagonal: (n,) L_jj.
        explained: empty, for the same rows.
    Source: Chen, Zhang and Zhou 2018, algorithm 1; lazy evaluation after Minoux 1978.
    """
    bounds, seen = np.array(diagonal, dtype=np.float64), np.zeros(len(diagonal), dtype=np.intp)
    floor, rows, gains, refreshed = share * float(bounds.max()), [], [], 0
    for count in range(k):
        best, work = _largest(bounds, seen, explained, count)
        refreshed += work
        if not bounds[best] > floor:
            break
        rows.append(best)
        gains.append(bounds[best])
        explained.append(best)
        bounds[best], seen[best] = -np.inf, k
    return Greedy(np.array(rows, dtype=np.intp), np.array(gains), refreshed)


def _largest(bounds: Array, seen: Rows, explained: Explained, count: int) -> tuple[int, int]:
    """The row with the largest residual after ``count`` picks, and how many rows it took to know."""
    size, refreshed = FIRST_BLOCK, 0
    while seen[best := int(np.argmax(bounds))] < count:
        top = np.argpartition(-bounds, size - 1)[:size] if size < len(bounds) else np.arange(len(bounds))
        stale = np.sort(top[seen[top] < count])
        stale = stale if best in stale else np.append(stale, best)
        first = int(seen[stale].min())
        squares = explained.coordinates(stale, first, count) ** 2
        squares[np.arange(first, count) < seen[stale, None]] = 0.0
        bounds[stale] -= squares.sum(axis=1)
        seen[stale] = count
        refreshed += len(stale)
        size = min(2 * size, LARGEST_BLOCK)
    return best, refreshed


class ExplainedFeatures:
    """For L = Psi Psi': an orthonormal basis of the picks' features, O(k D) memory."""

    def __init__(self, read: ReadRows, k: int, width: int) -> None:
        self._read = read
        self._basis = np.empty((k, width))
        self._count = 0

    def coordinates(self, which: Rows, first: int, last: int) -> Array:
        """(b, last - first) inner products with the basis; O(D) each."""
        return np.asarray(self._read(which) @ self._basis[first:last].T)

    def append(self, row: int) -> None:
        """Add the direction of the row's features that is new, orthogonalised twice."""
        vector, basis = self._read(np.array([row]))[0], self._basis[: self._count]
        for _ in range(2):
            vector = vector - (vector @ basis.T) @ basis
        self._basis[self._count] = vector / np.sqrt(vector @ vector)
        self._count += 1


class ReadEntries(Protocol):
    """Entries of a kernel matrix."""

    def __call__(self, which: Rows, others: Rows) -> Array:
        """(b, m) L of rows ``which`` and ``others``."""


class ExplainedKernel:
    """For a kernel without features: rows of the incomplete Cholesky factor, O(n k) memory."""

    def __init__(self, entries: ReadEntries, n: int, k: int) -> None:
        self._entries = entries
        self._factor = np.zeros((n, k))
        self._picks = np.empty(k, dtype=np.intp)
        self._count = 0

    def coordinates(self, which: Rows, first: int, last: int) -> Array:
        """(b, last - first) columns of the factor, computed from those before ``first``."""
        from scipy.linalg import solve_triangular

        if first == last:
            return np.zeros((len(which), 0))
        picks = self._picks[first:last]
        pivots = self._factor[picks]
        rest = self._entries(which, picks) - self._factor[which, :first] @ pivots[:, :first].T
        columns = solve_triangular(pivots[:, first:last], rest.T, lower=True).T
        self._factor[which, first:last] = columns
        return np.asarray(columns)

    def append(self, row: int) -> None:
        """Add a pick, whose own row of the factor is known up to here; its pivot closes it."""
        one, count = np.array([row]), self._count
        own = self._factor[row, :count]
        self._factor[row, count] = np.sqrt(self._entries(one, one)[0, 0] - own @ own)
        self._picks[count] = row
        self._count += 1
