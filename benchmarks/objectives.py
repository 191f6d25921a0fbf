"""What a batch is worth by the measure that its method optimises; the same code judges every peer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def radius(folder: Path, picked: Array) -> float:
    """Covering radius: the largest distance of a row to its nearest labeled or picked one."""
    X = np.load(folder / "embeddings.npy")
    return float(np.sqrt(_nearest(X, X[_centres(folder, picked)]).max()))


def gradient_potential(folder: Path, picked: Array) -> float:
    """Mean squared distance of the gradient embeddings to their nearest pick: what D^2 sampling makes small."""
    A, X = _residuals(folder), np.load(folder / "embeddings.npy")
    norms = (A * A).sum(1) * (X * X).sum(1)
    best = np.full(len(X), np.inf)
    for block in np.array_split(picked, max(1, len(picked) // 100)):
        products = (A @ A[block].T) * (X @ X[block].T)
        best = np.minimum(best, (norms[:, None] + norms[block] - 2 * products).min(axis=1))
    return float(np.maximum(best, 0).mean())


def typicality(folder: Path, picked: Array) -> float:
    """Mean inverse distance of the picks to their 20 nearest rows."""
    X = np.load(folder / "embeddings.npy")
    squared = np.maximum(_squared(X[picked], X), 0)
    near = np.sqrt(np.partition(squared, 21, axis=1)[:, :21]).sum(axis=1) / 20
    return float((1 / near).mean())


def coverage(folder: Path, picked: Array) -> float:
    """Share of the rows within delta of a labeled or picked one."""
    X, delta = np.load(folder / "embeddings.npy"), float(np.load(folder / "delta.npy"))
    return float((_nearest(X, X[_centres(folder, picked)]) <= delta**2).mean())


def soft_coverage(folder: Path, picked: Array) -> float:
    """Mean RBF similarity of the rows to the nearest labeled or picked one."""
    X, gamma = np.load(folder / "embeddings.npy"), float(np.load(folder / "gamma.npy"))
    return float(np.exp(-gamma * _nearest(X, X[_centres(folder, picked)])).mean())


def log_determinant(folder: Path, picked: Array) -> float:
    """log det of the exact RBF kernel on the cosine distance, of the picks."""
    X = np.load(folder / "embeddings.npy")[picked].astype(np.float64)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return float(np.linalg.slogdet(np.exp((X @ X.T - 1) / float(np.load(folder / "tau.npy"))))[1])


def margin(folder: Path, picked: Array) -> float:
    """Mean of 1 - (p1 - p2) over the picks."""
    P = -np.sort(-_softmax(np.load(folder / "logits.npy")[picked].astype(np.float64)), axis=1)
    return float((1 - P[:, 0] + P[:, 1]).mean())


def mutual_information(folder: Path, picked: Array) -> float:
    """Mean mutual information of the picks."""
    P = _softmax(np.load(folder / "members.npy")[:, picked].astype(np.float64))
    return float((_entropy(P.mean(0)) - _entropy(P).mean(0)).mean())


OBJECTIVES: dict[str, tuple[Callable[[Path, Array], float], str]] = {
    "margin": (margin, "higher"),
    "k-center": (radius, "lower"),
    "badge": (gradient_potential, "lower"),
    "typiclust": (typicality, "higher"),
    "prob-cover": (coverage, "higher"),
    "max-herding": (soft_coverage, "higher"),
    "k-dpp": (log_determinant, "higher"),
    "bald": (mutual_information, "higher"),
}
"""Method to its measure, and which way is better."""


def _centres(folder: Path, picked: Array) -> Array:
    return np.concatenate([np.load(folder / "labeled.npy"), picked])


def _squared(rows: Array, centres: Array) -> Array:
    norms = (rows * rows).sum(1)[:, None] + (centres * centres).sum(1)
    return norms - 2 * (rows @ centres.T)


def _nearest(X: Array, centres: Array) -> Array:
    parts = [_squared(block, centres).min(axis=1) for block in np.array_split(X, max(1, len(X) // 5000))]
    return np.maximum(np.concatenate(parts), 0)


def _residuals(folder: Path) -> Array:
    P = _softmax(np.load(folder / "logits.npy"))
    P[np.arange(len(P)), P.argmax(axis=1)] -= 1
    return P


def _softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _entropy(P: Array) -> Array:
    return -(P * np.log(np.maximum(P, 1e-300))).sum(axis=-1)
