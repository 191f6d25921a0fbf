"""The last linear layer of a model, recovered from what went in and what came out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Logits, Values
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels.gradient_embedding import loss_gradients

FIT_ROWS = 4096
"""Rows, evenly spaced, that the layer is fitted to and checked on; more where the layer is wide."""
CHECKED = 4
"""One in so many of them is not fitted to, but checked."""
TOLERANCE = 0.02
"""Share of the logits' spread that a linear layer may miss: float16 misses far less, another layer far more."""
CUT = 1e-5
"""Directions of the embeddings that vary less than this share of the widest count as not varying."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """logits = weights . embedding + bias, up to a number that all classes of a row share."""

    weights: Floats
    """(c, d); columns sum to 0."""
    bias: Floats
    """(c,)"""
    checked: bool
    """Whether rows were left over to check it on: else there are too few to tell a linear layer from any other."""
    known: int
    """Directions of the embeddings in which the weights could be seen; in all others they are 0."""

    @property
    def doubt(self) -> str:
        """What an answer for embeddings unlike those at hand rests on; empty if nothing is in doubt."""
        width = self.weights.shape[1]
        unchecked = "" if self.checked else "the last layer is fitted to too few rows to check that it is linear"
        unseen = f"the last layer is known in {self.known} of {width} directions" if self.known < width else ""
        return "; ".join(filter(None, [unchecked, unseen]))

    def __call__(self, embeddings: Floats) -> Floats:
        """(b, c) logits of b embeddings."""
        return np.asarray(embeddings @ self.weights.T + self.bias)


def linear_head(embeddings: RowMatrix, logits: RowMatrix) -> LinearHead:
    """The linear layer that leads from the embeddings to the logits.

    Weights in directions in which the embeddings do not vary are not to be seen in the data; they are 0.

    Args:
        embeddings: (n, d), logits: (n, c); finite. Log probabilities serve as well.
    Raises:
        UsageError: no linear layer leads from one to the other.
    Cost: least squares in float64 on ``FIT_ROWS`` rows (4 (d + 1), where that is more): O(rows d^2).
    """
    n, d = len(embeddings), embeddings.width
    at = np.unique(np.linspace(0, n - 1, min(n, max(FIT_ROWS, CHECKED * (d + 1)))).astype(np.intp))
    held_out = np.arange(len(at)) % CHECKED == CHECKED - 1
    checked = int((~held_out).sum()) > d + 1
    fit, check = (~held_out, held_out) if checked else (np.ones(len(at), dtype=np.bool_),) * 2
    x, z = embeddings.take(at).astype(np.float64), logits.take(at).astype(np.float64)
    z -= z.mean(axis=1, keepdims=True)  # all that a softmax sees of them
    x_mean, z_mean = x[fit].mean(axis=0), z[fit].mean(axis=0)
    solution, known = _least_squares(x[fit] - x_mean, z[fit] - z_mean)
    weights = solution.T
    bias = z_mean - weights @ x_mean
    _check(x[check] @ weights.T + bias, z[check])
    return LinearHead(weights=weights.astype(np.float32), bias=bias.astype(np.float32), checked=checked, known=known)


def _least_squares(x: npt.NDArray[np.float64], z: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
    """(d, c) the shortest w for which x w is nearest to z, and the rank of x; by the normal equations; see ``CUT``.

    In float64 these keep six digits of the directions that vary least, in half the time of singular values of x.
    """
    squares, directions = np.linalg.eigh(x.T @ x)
    vary = squares > CUT**2 * squares[-1]
    directions = directions[:, vary]
    return np.asarray(directions @ ((directions.T @ (x.T @ z)) / squares[vary, None])), int(vary.sum())


def _check(fitted: npt.NDArray[np.float64], logits: npt.NDArray[np.float64]) -> None:
    missed = np.sqrt(((fitted - logits) ** 2).mean())
    spread = np.sqrt(((logits - logits.mean(axis=0)) ** 2).mean())
    rounding = 1e-3 * np.sqrt((logits**2).mean())
    if not missed <= TOLERANCE * spread + rounding:
        raise UsageError(
            "this needs logits that are a linear function of the embeddings, as behind a model's last linear layer; "
            f"here the nearest linear function misses {missed / max(spread, missed * 0.01):.0%} of their spread; "
            "give the embeddings that go into the last layer, or take a strategy without one, such as badge"
        )


def flip_distances(logits: Logits, head: LinearHead) -> Values:
    """(b,) how far an embedding goes along its loss gradient until another class is predicted; inf for never.

    The logits move along a line, l + t g with g = W grad / |grad| and grad = W^T (p - e_y), so that class c
    takes over at t = (l_y - l_c) / (g_c - g_y) where g_c > g_y.

    Args:
        logits: (b, c), one block.
    Cost: O(b c d).
    Source: Parvaneh et al. 2022, eq. 4 and 5, solved for a linear last layer.
    """
    rows, predicted = np.arange(len(logits)), np.asarray(logits).argmax(axis=1)
    steps = loss_gradients(logits)
    largest = np.abs(steps).max(axis=1, keepdims=True)
    gradient = np.divide(steps, largest, out=np.zeros_like(steps), where=largest > 0) @ head.weights
    length = np.sqrt(np.einsum("ij,ij->i", gradient, gradient))[:, None]
    slopes = np.divide(gradient, length, out=np.zeros_like(gradient), where=length > 0) @ head.weights.T
    rising = slopes - slopes[rows, predicted][:, None]
    behind = np.asarray(logits[rows, predicted])[:, None] - logits
    rising[rows, predicted] = 0
    times = np.divide(behind, rising, out=np.full(rising.shape, np.inf, dtype=rising.dtype), where=rising > 0)
    return np.asarray(times.min(axis=1))
