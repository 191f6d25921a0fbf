"""L-ensembles: the kernel L of a k-DPP by its spectrum, as a matrix (primal) or as features (dual).

Both know their eigenvalues, give rows of eigenvectors and of features on demand, and sums over
squared eigenvectors; sampling, marginals and greedy maximisation ask for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.kernels.dpp_features import SINGULAR, Array, Features, Geometry, positive_spectrum
from foresift.kernels.dpp_projection import ReadRows

FEATURE_BYTES = 1 << 26
"""Bytes of a block of float32 features."""
HELD_BYTES = 1 << 30
"""Features of up to 1 GiB are computed once and kept, where rows are asked for again and again."""
SINGULAR_FLOAT32 = 1e-6
"""Eigenvalues below this share of the largest are rounding errors, with features in float32."""


class Ensemble(Protocol):
    """L = V diag(eigenvalues) V' of n candidates, of rank r."""

    @property
    def eigenvalues(self) -> Array:
        """(r,) positive, ascending."""

    @property
    def singular(self) -> float:
        """Residuals below this share of the largest L_ii are rounding errors."""

    def __len__(self) -> int:
        """n, the number of candidates."""

    def squares(self, weights: Array) -> Array:
        """(n,) sum over j of weights_j V_ij^2, weights (r,); columns of weight 0 cost nothing."""

    def eigenvector_rows(self, columns: Rows, *, dtype: npt.DTypeLike = np.float64) -> ReadRows:
        """What gives rows of V restricted to some columns."""

    def feature_rows(self) -> ReadRows:
        """What gives rows of a matrix Psi with L = Psi Psi'."""

    def diagonal(self) -> Array:
        """(n,) L_ii."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimalEnsemble:
    """Eigenvectors held whole: exact for any kernel matrix, O(n^3) time and O(n^2) memory."""

    eigenvalues: Array
    vectors: Array
    """(n, r) orthonormal columns"""
    entries: Array
    """(n,) L_ii"""
    singular: float = SINGULAR

    def __len__(self) -> int:
        return len(self.vectors)

    def squares(self, weights: Array) -> Array:
        """(n,) weighted sums of squared eigenvectors."""
        used = np.flatnonzero(weights)
        return np.asarray(self.vectors[:, used] ** 2 @ weights[used])

    def eigenvector_rows(self, columns: Rows, *, dtype: npt.DTypeLike = np.float64) -> ReadRows:
        """Rows of the chosen eigenvectors."""
        chosen = self.vectors[:, columns].astype(dtype)
        return lambda which: chosen[which]

    def feature_rows(self) -> ReadRows:
        """Rows of V diag(eigenvalues)^1/2."""
        features = self.vectors * np.sqrt(self.eigenvalues)
        return lambda which: features[which]

    def diagonal(self) -> Array:
        """(n,) L_ii, to the last digit: equal ones are equal."""
        return self.entries


def primal_ensemble(kernel: Array, quality: Array | None = None, *, floor: float = 0.0) -> PrimalEnsemble:
    """The ensemble of L = diag(q) K diag(q), from K (n, n) positive semi-definite; O(n^3).

    Eigenvalues below 1e-10 of the largest, or below ``floor``, are dropped.
    """
    matrix = kernel if quality is None else kernel * np.outer(quality, quality)
    values, vectors = positive_spectrum(matrix, floor=floor)
    return PrimalEnsemble(eigenvalues=values, vectors=vectors, entries=np.diag(matrix))


def conditioned_kernel(kernel: Array, cross: Array, among: Array, *, noise: float) -> Array:
    """(n, n) K - K_.A (K_AA + noise I)^-1 K_A.: what the labeled rows A leave of K.

    The Schur complement of conditioning a DPP on A, regularised: with noise 0 it vanishes as soon
    as A spans the kernel, with noise above 0 it keeps the rank of K and a copy of a labeled row
    keeps noise / (1 + noise) of its variance.

    Args:
        kernel: (n, n) K.
        cross: (n, m) K_.A.
        among: (m, m) K_AA.
        noise: above 0.
    """
    if not cross.shape[1]:
        return kernel
    lower = np.linalg.cholesky(among + noise * np.eye(len(among)))
    half = _solve_lower(lower, cross.T)
    return np.asarray(kernel - half.T @ half)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRows:
    """Rows of features of a pool, times their quality, computed block by block as they are read."""

    matrix: RowMatrix
    geometry: Geometry
    features: Features
    quality: Array | None = None
    """(n,) above 0; None means 1."""

    def blocks(self) -> Iterator[tuple[int, int, Array]]:
        """``(start, stop, features)`` in float32, blocks of about ``FEATURE_BYTES``."""
        step = max(64, FEATURE_BYTES // (4 * max(self.features.width, self.matrix.width)))
        for start in range(0, len(self.matrix), step):
            stop = min(start + step, len(self.matrix))
            rows = self.features.of(self.geometry.place(self.matrix.block(start, stop)))
            if self.quality is not None:
                rows = rows * self.quality[start:stop, None].astype(np.float32)
            yield start, stop, rows

    def take(self, which: npt.NDArray[np.integer]) -> Array:
        """(b, D) some rows in float64: copies among them are copies to the last digits."""
        points = self.geometry.place(self.matrix.take(which).astype(np.float64))
        rows = np.asarray(self.features.of(points))
        return rows if self.quality is None else rows * self.quality[which, None]


def gram(rows: FeatureRows) -> Array:
    """(D, D) Phi' Phi: float32 products of blocks, summed in float64. O(n D (d + D)), one block of memory."""
    total = np.zeros((rows.features.width, rows.features.width))
    for _, _, block in rows.blocks():
        total += block.T @ block
    return total


def labeled_factor(labeled_gram: Array, *, noise: float) -> Array:
    """(D, D) B with B B' = (I + Phi_A' Phi_A / noise)^-1, so that Phi B are the features given A.

    Phi B B' Phi' equals the regularised Schur complement of :func:`conditioned_kernel`
    (Woodbury). One Cholesky factor of D x D.
    """
    lower = np.linalg.cholesky(np.eye(len(labeled_gram)) + labeled_gram / noise)
    return _solve_lower(lower, np.eye(len(lower))).T


@dataclass(frozen=True, slots=True, kw_only=True)
class DualEnsemble:
    """Features of D numbers a row in place of an n x n matrix: O(D^2) memory for any n.

    L = Phi B B' Phi'; with B' Phi' Phi B = U Lambda U' the eigenvectors of L are V = Phi T,
    T = B U Lambda^-1/2. Rows of V are computed when they are asked for.
    Source: Kulesza and Taskar 2012, section 3.3.
    """

    rows: FeatureRows
    eigenvalues: Array
    directions: Array
    """(D, r) T"""
    factor: Array | None = None
    """(D, D) B; None means the identity."""
    singular: float = SINGULAR_FLOAT32

    def __len__(self) -> int:
        return len(self.rows.matrix)

    def squares(self, weights: Array) -> Array:
        """(n,) weighted sums of squared eigenvectors: one pass over the pool in float32."""
        used = np.flatnonzero(weights)
        scaled = (self.directions[:, used] * np.sqrt(weights[used])).astype(np.float32)
        return self._squared_norms(scaled)

    def eigenvector_rows(self, columns: Rows, *, dtype: npt.DTypeLike = np.float64) -> ReadRows:
        """Rows of the chosen eigenvectors, O(D (d + k)) each."""
        chosen = np.ascontiguousarray(self.directions[:, columns], dtype=dtype)
        return lambda which: self.rows.take(which).astype(dtype, copy=False) @ chosen

    def feature_rows(self) -> ReadRows:
        """Rows of Phi B: kept in float32 where they fit into ``HELD_BYTES``, else computed again each time."""
        if 4 * len(self) * self.rows.features.width > HELD_BYTES:
            return lambda which: self._with_factor(self.rows.take(which))
        held = np.empty((len(self), self.rows.features.width), dtype=np.float32)
        for start, stop, block in self.rows.blocks():
            held[start:stop] = self._with_factor(block)
        return lambda which: held[which].astype(np.float64)

    def diagonal(self) -> Array:
        """(n,) L_ii to six digits of the largest: one pass over the pool in float32, whose noise decides no tie."""
        entries = self._squared_norms(None if self.factor is None else self.factor.astype(np.float32))
        largest = entries.max(initial=np.finfo(np.float64).tiny)
        return np.asarray(np.round(entries / largest, 6) * largest)

    def _with_factor(self, block: Array) -> Array:
        return block if self.factor is None else np.asarray(block @ self.factor.astype(block.dtype))

    def _squared_norms(self, right: Array | None) -> Array:
        result = np.empty(len(self))
        for start, stop, block in self.rows.blocks():
            product = block if right is None else block @ right
            result[start:stop] = np.einsum("ij,ij->i", product, product)
        return result


def dual_ensemble(rows: FeatureRows, *, factor: Array | None = None) -> DualEnsemble:
    """The ensemble of features: one pass for the Gram matrix, one eigendecomposition of D x D.

    Eigenvalues below 1e-6 of the largest of Phi' Phi are dropped: below lies what float32 rounds off,
    whatever the labeled rows leave of the largest. O(n D (d + D) + D^3) time.
    """
    total = gram(rows)
    if factor is None:
        values, vectors = positive_spectrum(total, share=SINGULAR_FLOAT32)
        return DualEnsemble(rows=rows, eigenvalues=values, directions=vectors / np.sqrt(values))
    floor = SINGULAR_FLOAT32 * float(np.linalg.eigvalsh(total)[-1])
    values, vectors = positive_spectrum(factor.T @ total @ factor, floor=floor)
    return DualEnsemble(rows=rows, eigenvalues=values, directions=factor @ (vectors / np.sqrt(values)), factor=factor)


def _solve_lower(lower: Array, right: Array) -> Array:
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(lower, right, lower=True))
