"""The similarity kernel of a query's candidates: as a matrix for small pools, as features for large ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from foresift.core.arrays import Rows, first_nonfinite_row
from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Query
from foresift.kernels.dpp_ensembles import (
    Ensemble,
    FeatureRows,
    conditioned_kernel,
    dual_ensemble,
    gram,
    labeled_factor,
    primal_ensemble,
)
from foresift.kernels.dpp_features import (
    Array,
    Features,
    FourierFeatures,
    Geometry,
    LinearFeatures,
    fourier_features,
    geometry_of,
    half_squared_distances,
    median_distance,
    nystrom_features,
    points_of,
)

EXACT_ROWS = 2000
"""Up to so many candidates and labeled rows together the kernel is a matrix, and exact."""
ROUNDING = 1e-14
"""Eigenvalues of an n x n kernel below this, times n, times its largest entry, are rounding errors."""
FEWEST_FEATURES, MOST_FEATURES = 1024, 8192
FEATURES_A_PICK = 2
"""Features of a large pool: two a pick, within these limits (8,192 take 0.5 GiB for each D x D matrix)."""


class Similarity(Protocol):
    """A positive semi-definite kernel K of n candidates, given what is labeled."""

    @property
    def approx(self) -> str:
        """How K deviates from the kernel that was asked for; empty if it does not."""

    @property
    def details(self) -> dict[str, Any]:
        """Scale and size, for the receipt."""

    def ensemble(self, quality: Array | None = None) -> Ensemble:
        """The L-ensemble of diag(q) K diag(q), for q (n,) above 0."""

    def subset(self, rows: Rows) -> Similarity:
        """The same kernel of some candidates only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixSimilarity:
    """K itself."""

    kernel: Array
    """(n, n)"""
    largest: float
    """The largest entry before labeled rows took their part: by it rounding errors are judged."""
    details: dict[str, Any]
    approx: str = ""

    def ensemble(self, quality: Array | None = None) -> Ensemble:
        """By an eigendecomposition of n x n."""
        top = 1.0 if quality is None else float(quality.max()) ** 2
        return primal_ensemble(self.kernel, quality, floor=ROUNDING * len(self.kernel) * self.largest * top)

    def subset(self, rows: Rows) -> MatrixSimilarity:
        """Some rows and columns of K."""
        return replace(self, kernel=self.kernel[np.ix_(rows, rows)])


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSimilarity:
    """K = Phi B B' Phi', by features Phi of the candidates."""

    matrix: RowMatrix
    geometry: Geometry
    features: Features
    factor: Array | None
    """(D, D) B: what the labeled rows leave; None means all."""
    details: dict[str, Any]
    approx: str

    def ensemble(self, quality: Array | None = None) -> Ensemble:
        """By one pass over the pool and an eigendecomposition of D x D."""
        rows = FeatureRows(matrix=self.matrix, geometry=self.geometry, features=self.features, quality=quality)
        return dual_ensemble(rows, factor=self.factor)

    def subset(self, rows: Rows) -> Similarity:
        """The same features of some candidates; their matrix where they are fewer than the features."""
        if len(rows) >= self.features.width:
            return replace(self, matrix=self.matrix.subset(rows))
        held = FeatureRows(matrix=self.matrix, geometry=self.geometry, features=self.features).take(rows)
        largest = float(np.einsum("ij,ij->i", held, held).max(initial=0.0))
        if self.factor is not None:
            held = held @ self.factor
        return MatrixSimilarity(kernel=held @ held.T, largest=largest, details=self.details, approx=self.approx)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityChoice:
    """Which kernel of the embeddings, and whether labeled rows condition it."""

    kernel: str
    metric: str
    scale: float
    features: int
    conditioned: bool
    noise: float

    def of(self, query: Query, rng: np.random.Generator) -> Similarity:
        """The kernel of the query's candidates: a matrix where they are few, else features.

        Raises:
            NonFiniteError: an embedding holds NaN or infinity.
            UsageError: a large pool and a budget that no feasible number of features can serve.
        """
        matrix = finite_embeddings(query)
        labeled = query.labeled_matrix("embeddings") if self.conditioned and query.labeled_columns else None
        labeled = labeled if labeled is not None and len(labeled) else None
        total = len(matrix) + (0 if labeled is None else len(labeled))
        geometry = geometry_of(matrix, self.metric)
        tau = self.scale * median_distance(matrix, geometry, rng)
        if total <= max(EXACT_ROWS, min(MOST_FEATURES, self._count(query.budget))):
            return self._matrix(matrix, labeled, geometry, tau)
        return self._features(matrix, labeled, geometry, tau, k=query.budget, rng=rng)

    def _count(self, k: int) -> int:
        return self.features or max(FEWEST_FEATURES, FEATURES_A_PICK * k)

    def _matrix(self, matrix: RowMatrix, labeled: RowMatrix | None, geometry: Geometry, tau: float) -> Similarity:
        points = points_of(matrix, geometry)
        known = points[:0] if labeled is None else points_of(labeled, geometry)
        whole = self._entries(points, points, tau)
        kernel = conditioned_kernel(
            whole,
            self._entries(points, known, tau),
            self._entries(known, known, tau),
            noise=self.noise,
        )
        return MatrixSimilarity(kernel=kernel, largest=float(whole.max()), details=self._details(tau, labeled))

    def _entries(self, points: Array, others: Array, tau: float) -> Array:
        if self.kernel == "linear":
            return np.asarray(points @ others.T)
        return np.asarray(np.exp(half_squared_distances(points, others) / -tau))

    def _features(
        self,
        matrix: RowMatrix,
        labeled: RowMatrix | None,
        geometry: Geometry,
        tau: float,
        *,
        k: int,
        rng: np.random.Generator,
    ) -> Similarity:
        count = feasible_features(self._count(k), k)
        features: Features = LinearFeatures(width=matrix.width)
        if self.kernel == "nystrom":
            features = nystrom_features(matrix, geometry, tau, features=count, rng=rng)
        elif self.kernel == "rbf":
            features = fourier_features(matrix.width, tau, features=count, rng=rng)
        factor = None
        if labeled is not None:
            known = FeatureRows(matrix=labeled, geometry=geometry, features=features)
            factor = labeled_factor(gram(known), noise=self.noise)
        details = {**self._details(tau, labeled), "features": features.width}
        approx = features_approx(features)
        return FeatureSimilarity(
            matrix=matrix, geometry=geometry, features=features, factor=factor, details=details, approx=approx
        )

    def _details(self, tau: float, labeled: RowMatrix | None) -> dict[str, Any]:
        scale = {} if self.kernel == "linear" else {"tau": tau}
        return {**scale, "conditioned_on": 0 if labeled is None else len(labeled)}


def feasible_features(wanted: int, k: int) -> int:
    """``wanted`` features cut to ``MOST_FEATURES``.

    Raises:
        UsageError: fewer features than picks: no set of k would have a positive determinant.
    """
    count = min(wanted, MOST_FEATURES)
    if count < k:
        raise UsageError(
            f"a k-DPP of {k} picks from a large pool needs at least {k} features, got {count} "
            f"(at most {MOST_FEATURES}); give more features, or label in several rounds of a smaller budget"
        )
    return count


def features_approx(features: Features) -> str:
    """What features stand for, and how well; the sample is exact for the kernel that they define."""
    if isinstance(features, FourierFeatures):
        error = 1 / np.sqrt(features.width)
        return (
            f"kernel: inner products of {features.width} random Fourier features stand for the RBF kernel, entry by "
            f"entry unbiased with a standard deviation of at most {error:.2g}; the DPP of that feature kernel is exact"
        )
    if isinstance(features, LinearFeatures):
        return ""
    return (
        f"kernel: {features.width} Nystrom features stand for the RBF kernel: exact on the landmark rows, below it "
        "elsewhere; the DPP of that feature kernel is exact"
    )


def finite_embeddings(query: Query) -> RowMatrix:
    """The embeddings of the candidates; one pass over them.

    Raises:
        NonFiniteError: a number is NaN or infinite; names the sample.
    """
    matrix = query.matrix("embeddings")
    for start, _, rows in matrix.blocks():
        at = first_nonfinite_row(rows)
        if at is not None:
            raise NonFiniteError(f"the embedding of sample {str(query.ids[start + at])!r} holds NaN or infinity")
    return matrix
