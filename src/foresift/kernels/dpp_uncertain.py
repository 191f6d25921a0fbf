"""Kernels that join uncertainty u (0 .. 1) and similarity: as quality, as distance, as the paper prints it.

Eq. 3 of the paper, L_ij = a max(u_i, u_j) + b S_ij, is not positive semi-definite: max(u_i, u_j) =
c - min(c - u_i, c - u_j) is of rank one less a Brownian kernel, so it has one positive eigenvalue,
and L at most d + 1. Read as a distance, D_ij = a max(u_i, u_j) + b (1 - S_ij) with D_ii = 0, it gives
exp(-D / tau), which is positive semi-definite for all a, b, tau: max is an ultrametric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from foresift.core.arrays import Rows
from foresift.kernels.dpp_ensembles import Ensemble
from foresift.kernels.dpp_exact import expected_counts
from foresift.kernels.dpp_features import Array, half_squared_distances

GUARDED = 3.0
"""Strata from which the plain k-DPP expects at least this many picks ..."""
KEPT = 1.0
"""... keep an expectation of at least this many."""
SHARES = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)
"""Parts of gamma that are tried, from the largest down; then 0."""


def quality(uncertainty: Array, gamma: float) -> Array:
    """(n,) q with q^2 = exp(gamma u): the most uncertain sample weighs e^gamma times the least."""
    return np.asarray(np.exp(gamma * uncertainty.astype(np.float64) / 2))


class Bounded(NamedTuple):
    """The largest gamma that starves no stratum."""

    gamma: float
    fewest: float
    """The smallest expectation among the guarded strata; infinite where there is none."""


def bounded_gamma(
    ensemble: Callable[[float], Ensemble], strata: Rows, k: int, gamma: float, *, scale: float = 1.0
) -> Bounded:
    """``gamma``, lowered until each stratum with a plain expectation of 3 picks or more keeps 1 or more.

    Expectations are exact marginals of the k-DPP, summed over strata. One ensemble for each part
    of gamma that is tried, and one for the plain k-DPP.

    Args:
        ensemble: gamma to the L-ensemble with q^2 = exp(gamma u).
        strata: (n,) stratum of each row, from 0.
        gamma: 0 or more.
        scale: k as a share of the picks of the pool that the rows are a sample of; expectations are divided by it,
            which is nearly what the pool would give and somewhat on the safe side.
    """
    plain = expected_counts(ensemble(0.0), k, strata) / scale
    guarded = plain >= GUARDED
    if not guarded.any():
        return Bounded(gamma, np.inf)
    for part in SHARES:
        fewest = float(expected_counts(ensemble(part * gamma), k, strata)[guarded].min()) / scale
        if fewest >= KEPT:
            return Bounded(part * gamma, fewest)
    return Bounded(0.0, float(plain[guarded].min()))


class UncertainDistance(NamedTuple):
    """D_ij = a max(u_i, u_j) + b ||x_i - x_j||^2 / 2 for i != j, and 0 for i = j."""

    points: Array
    """(n, d) rows of length 1, so that the second term is b (1 - cosine)."""
    uncertainty: Array
    """(n,)"""
    a: float
    b: float

    def __call__(self, which: Rows, others: Rows) -> Array:
        """(i, j) distances of some rows to others."""
        result = half_squared_distances(self.points[which], self.points[others])
        result *= self.b
        result += self.a * np.maximum(self.uncertainty[which, None], self.uncertainty[others])
        result[which[:, None] == others] = 0.0
        return result


class DistanceKernel(NamedTuple):
    """Entries of exp(-D / tau), less what the labeled rows explain of them."""

    distance: UncertainDistance
    tau: float
    explained: Array | None = None
    """(n, m) H with H H' = L_.A (L_AA + noise I)^-1 L_A.; None where nothing is labeled."""

    def __call__(self, which: Rows, others: Rows) -> Array:
        """(i, j) entries of L."""
        result = np.exp(self.distance(which, others) / -self.tau)
        if self.explained is not None:
            result -= self.explained[which] @ self.explained[others].T
        return np.asarray(result)

    def given(self, labeled: Rows, *, noise: float) -> DistanceKernel:
        """The same kernel given some of its rows, by the regularised Schur complement; O(n m (m + d))."""
        from scipy.linalg import solve_triangular

        everyone = np.arange(len(self.distance.points))
        lower = np.linalg.cholesky(self(labeled, labeled) + noise * np.eye(len(labeled)))
        return self._replace(explained=solve_triangular(lower, self(labeled, everyone), lower=True).T)


def literal_kernel(points: Array, uncertainty: Array, *, a: float, b: float) -> Array:
    """(n, n) a max(u_i, u_j) + b x_i.x_j, the paper's Eq. 3 as printed; not positive semi-definite."""
    return np.asarray(a * np.maximum(uncertainty[:, None], uncertainty) + b * (points @ points.T))


class Clipped(NamedTuple):
    """A symmetric matrix without its negative eigenvalues."""

    matrix: Array
    removed: float
    """Sum of the removed eigenvalues' sizes over that of all."""
    negative: int
    positive: int
    """How many eigenvalues lie beyond rounding errors, on either side."""


def clipped(symmetric: Array) -> Clipped:
    """The nearest positive semi-definite matrix in the Frobenius norm; O(n^3)."""
    values, vectors = np.linalg.eigh(symmetric)
    small = 1e-10 * np.abs(values).max(initial=0.0)
    positive, negative = values > small, values < -small
    kept = vectors[:, positive]
    total = float(np.abs(values).sum()) or 1.0
    removed = float(-values[negative].sum()) / total
    return Clipped((kept * values[positive]) @ kept.T, removed, int(negative.sum()), int(positive.sum()))
