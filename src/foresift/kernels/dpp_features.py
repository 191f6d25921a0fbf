"""Similarity kernels of embeddings for DPPs, entry by entry and as explicit features.

Distances are halves of squared Euclidean ones, D(x, y) = ||x - y||^2 / 2, between rows scaled to
length 1 (``cosine``: D = 1 - cos) or between centred rows (``euclidean``). The kernel is
exp(-D / tau), a Gaussian, with tau a multiple of the median distance; so it follows any scale of
the data, has full rank on distinct rows, and does not change when embeddings are rotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.matrices import RowMatrix
from foresift.kernels.distances import mean_row

Array: TypeAlias = npt.NDArray[np.floating[Any]]
"""float64 unless the text says otherwise."""

MEDIAN_ROWS = 512
"""Rows whose 130,816 distances give the median."""
SINGULAR = 1e-10
"""Eigenvalues below this share of the largest are rounding errors, in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where rows lie: on the unit sphere (``origin`` None), or less the mean of the pool."""

    origin: Array | None = None
    """(d,) what is taken off every row."""

    def place(self, rows: Array) -> Array:
        """(b, d) points in the dtype of the rows. A row of zeros stays at 0: at distance 1/2 of the sphere."""
        if self.origin is not None:
            return np.asarray(rows - self.origin.astype(rows.dtype))
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        return np.asarray(rows / np.where(norms > 0, norms, 1.0)[:, None].astype(rows.dtype))


def geometry_of(matrix: RowMatrix, metric: str) -> Geometry:
    """The geometry that ``cosine`` or ``euclidean`` names; O(n d) for the mean of the latter."""
    return Geometry(origin=mean_row(matrix) if metric == "euclidean" else None)


def points_of(matrix: RowMatrix, geometry: Geometry) -> Array:
    """(n, d) all rows as points in float64: for small pools."""
    return geometry.place(matrix.whole().astype(np.float64))


def half_squared_distances(points: Array, others: Array) -> Array:
    """(b, m) ||x - y||^2 / 2 in the dtype of the points, clipped at 0. One matrix product, O(b m d)."""
    result = points @ (-others.T)
    result += np.einsum("ij,ij->i", points, points)[:, None] / 2
    result += np.einsum("ij,ij->i", others, others) / 2
    return np.asarray(np.maximum(result, 0, out=result))


def median_distance(matrix: RowMatrix, geometry: Geometry, rng: np.random.Generator) -> float:
    """Median distance of the pairs among at most ``MEDIAN_ROWS`` drawn rows, above 0.

    Where most rows are copies the median is 0 and the mean takes its place; where all are, 1.
    """
    which = np.sort(rng.permutation(len(matrix))[:MEDIAN_ROWS])
    points = geometry.place(matrix.take(which).astype(np.float64))
    distances = half_squared_distances(points, points)[np.triu_indices(len(points), 1)]
    return typical_distance(distances)


def typical_distance(distances: Array) -> float:
    """The median of distances, above 0: their mean where that is 0, 1 where they all are."""
    if not distances.size:
        return 1.0
    tiny = 1e-12 * max(1.0, float(distances.max()))
    typical = [value for value in (float(np.median(distances)), float(distances.mean())) if value > tiny]
    return typical[0] if typical else 1.0


class Features(Protocol):
    """Explicit features of a kernel: k(x, y) is the inner product of the features of x and y."""

    @property
    def width(self) -> int:
        """D, numbers in a row of features."""

    def of(self, points: Array) -> Array:
        """(b, D) features of (b, d) points, in their dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FourierFeatures:
    """Random Fourier features of exp(-D / tau): D / 2 frequencies w ~ N(0, I / tau), as cos(w.x) and sin(w.x).

    Their inner product has the kernel as its mean, entries deviate by at most 1 / sqrt(D)
    (standard deviation), and every row has length 1 exactly.
    Source: Rahimi and Recht 2007, with the cosine-sine pair.
    """

    frequencies: Array
    """(d, D / 2)"""

    @property
    def width(self) -> int:
        """D, twice the number of frequencies."""
        return 2 * int(self.frequencies.shape[1])

    def of(self, points: Array) -> Array:
        """(b, D) features; O(b d D)."""
        angles = points @ self.frequencies.astype(points.dtype)
        half = angles.shape[1]
        result = np.empty((len(points), 2 * half), dtype=points.dtype)
        np.cos(angles, out=result[:, :half])
        np.sin(angles, out=result[:, half:])
        result *= points.dtype.type(1 / np.sqrt(half))
        return result


def fourier_features(width: int, tau: float, *, features: int, rng: np.random.Generator) -> FourierFeatures:
    """``features`` (made even) random Fourier features of points of ``width`` numbers."""
    return FourierFeatures(frequencies=rng.standard_normal((width, -(-features // 2))) / np.sqrt(tau))


@dataclass(frozen=True, slots=True, kw_only=True)
class NystromFeatures:
    """Features of the projection on m landmark rows: exact among the landmarks, for smooth kernels near to it.

    Better than random features where d is small; their number ends at the rank of the landmarks.
    Source: Williams and Seeger 2001; landmarks are drawn uniformly.
    """

    landmarks: Array
    """(m, d) points"""
    root: Array
    """(m, D) with root root' the pseudo-inverse of the landmarks' kernel matrix."""
    tau: float

    @property
    def width(self) -> int:
        """D, the numerical rank of the landmarks' kernel matrix."""
        return int(self.root.shape[1])

    def of(self, points: Array) -> Array:
        """(b, D) features; O(b m (d + D))."""
        distances = half_squared_distances(points, self.landmarks.astype(points.dtype))
        return np.asarray(np.exp(distances / -self.tau) @ self.root.astype(points.dtype))


def nystrom_features(
    matrix: RowMatrix, geometry: Geometry, tau: float, *, features: int, rng: np.random.Generator
) -> NystromFeatures:
    """Features from ``features`` landmarks that are drawn from the pool without replacement; O(m^2 (d + m))."""
    which = np.sort(rng.permutation(len(matrix))[:features])
    landmarks = geometry.place(matrix.take(which).astype(np.float64))
    values, vectors = positive_spectrum(np.exp(half_squared_distances(landmarks, landmarks) / -tau), share=1e-8)
    return NystromFeatures(landmarks=landmarks, root=vectors / np.sqrt(values), tau=tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearFeatures:
    """The points themselves: the kernel x.y, the cosine for points on the sphere. Its rank is at most d."""

    width: int

    def of(self, points: Array) -> Array:
        """(b, d) the points."""
        return points


def positive_spectrum(symmetric: Array, *, share: float = SINGULAR, floor: float = 0.0) -> tuple[Array, Array]:
    """Eigenvalues above ``floor`` and ``share`` of the largest, ascending; their eigenvectors as columns. O(m^3)."""
    values, vectors = np.linalg.eigh(symmetric)
    keep = values > max(share * values[-1], floor)
    return values[keep], vectors[:, keep]
