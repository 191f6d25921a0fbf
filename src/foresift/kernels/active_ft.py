"""Centroids that move towards the rows and away from each other, on the unit sphere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.kernels.blocks import row_blocks
from foresift.kernels.distances import nearest

BATCH = 4096
"""Rows of a step, drawn anew each time; all of them, where there are no more."""
Floats = npt.NDArray[np.float32]


def learned_centroids(
    units: RowMatrix, start: Rows, rng: np.random.Generator, *, steps: int, rate: float, temperature: float
) -> Floats:
    """(k, d) centroids after ``steps`` steps of Adam from the rows ``start``.

    The loss is - mean over rows of max_j s(f, t_j) / temperature + mean over centroids of
    log sum over i != j of exp(s(t_i, t_j) / temperature), with s the cosine; centroids return to length 1
    after each step.

    Args:
        units: (n, d) rows of length 1.
        start: (k,) rows.
        steps: 0 or more.
        rate: Adam's learning rate, above 0.
        temperature: above 0.
    Cost: O((min(n, ``BATCH``) + k) k d) time a step; O((b + k) d) memory.
    Source: Xie et al. 2023, eq. 5 to 7 and algorithm 1; Kingma and Ba 2015 for Adam.
    """
    centroids = units.take(start)
    first, second = np.zeros_like(centroids), np.zeros_like(centroids)
    for step, rows in enumerate(_batches(units, steps, rng), start=1):
        slope = _tangent(gradient(rows, centroids, temperature), centroids)
        first += np.float32(0.1) * (slope - first)
        second += np.float32(0.001) * (slope**2 - second)
        mean, square = first / np.float32(1 - 0.9**step), second / np.float32(1 - 0.999**step)
        centroids = _unit(centroids - np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8)))
    return centroids


def mean_nearest_cosine(units: RowMatrix, chosen: Rows) -> float:
    """Mean over all rows of the cosine to the nearest chosen one, within [-1, 1]; O(n k d)."""
    distances, _ = nearest(units, units.take(chosen))
    return float(1 - distances.mean(dtype=np.float64) / 2)


def loss(rows: Floats, centroids: Floats, temperature: float) -> float:
    """What :func:`learned_centroids` lowers, on one batch of rows."""
    pull = (rows @ centroids.T).max(axis=1).mean(dtype=np.float64) / temperature
    return float(_log_sums(centroids, temperature).mean(dtype=np.float64) - pull)


def gradient(rows: Floats, centroids: Floats, temperature: float) -> Floats:
    """(k, d) gradient of :func:`loss` in the centroids."""
    return _pull(rows, centroids, temperature) + _push(centroids, temperature)


def _batches(units: RowMatrix, steps: int, rng: np.random.Generator) -> Iterator[Floats]:
    n = len(units)
    every = units.whole() if n <= BATCH else None
    for _ in range(steps):
        yield units.take(np.sort(rng.integers(n, size=BATCH))) if every is None else every


def _pull(rows: Floats, centroids: Floats, temperature: float) -> Floats:
    """Gradient of minus the mean similarity of a row to its nearest centroid."""
    k, b = len(centroids), len(rows)
    best = np.concatenate([(rows[low:high] @ centroids.T).argmax(axis=1) for low, high in row_blocks(b, width=k)])
    share = np.full(b, -1 / (b * temperature), dtype=np.float32)
    return np.asarray(csr_array((share, (best, np.arange(b))), shape=(k, b)) @ rows)


def _push(centroids: Floats, temperature: float) -> Floats:
    """Gradient of the mean log sum over other centroids; each pair acts on both its ends."""
    k = len(centroids)
    if k == 1:
        return np.zeros_like(centroids)
    log_sums, pushed = _log_sums(centroids, temperature), np.empty_like(centroids)
    for low, high in row_blocks(k, width=k):
        similar = _similar(centroids, low, high, temperature)
        weights = np.exp(similar - log_sums[low:high, None]) + np.exp(similar - log_sums)
        pushed[low:high] = weights @ centroids
    return pushed / np.float32(k * temperature)


def _log_sums(centroids: Floats, temperature: float) -> Floats:
    """(k,) log sum of exp(similarity / temperature) to the other centroids; 0 where there is no other."""
    k = len(centroids)
    sums = np.zeros(k, dtype=np.float32)
    for low, high in row_blocks(k, width=k) if k > 1 else ():
        similar = _similar(centroids, low, high, temperature)
        top = similar.max(axis=1)
        sums[low:high] = top + np.log(np.exp(similar - top[:, None]).sum(axis=1))
    return sums


def _similar(centroids: Floats, low: int, high: int, temperature: float) -> Floats:
    """(high - low, k) similarity over temperature; minus infinity to itself."""
    similar = centroids[low:high] @ centroids.T / np.float32(temperature)
    similar[np.arange(high - low), np.arange(low, high)] = -np.inf
    return np.asarray(similar)


def _tangent(slopes: Floats, centroids: Floats) -> Floats:
    """The slopes without the part along a centroid, which cannot grow: what differentiating a cosine gives."""
    return np.asarray(slopes - np.einsum("ij,ij->i", slopes, centroids)[:, None] * centroids)


def _unit(rows: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(np.divide(rows, lengths, out=rows, where=lengths > 0))
