"""Softmax regression on embeddings: the fit, and how well it does on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix

Matrix = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]

L2 = 1e-2
"""Penalty on standardised embeddings where labels are too few to choose one."""
TOLERANCE = 1e-4
"""Largest element of the gradient at which a fit ends."""
CONSTANT = 1e-8
"""Numbers of an embedding that vary less than this, beside the largest, count as not varying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """What takes embeddings to mean 0 and standard deviation 1."""

    mean: Matrix
    """(d,)"""
    spread: Matrix
    """(d,) standard deviations; 1 where nothing varies."""

    def __call__(self, rows: npt.NDArray[Any]) -> Matrix:
        """(b, d) standardised rows."""
        return np.asarray((rows.astype(np.float64) - self.mean) / self.spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxHead:
    """Logits from raw embeddings."""

    standard: Standard
    weights: Matrix
    """(c, d + 1), biases last."""

    def __call__(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(b, c) logits of b embeddings."""
        logits = self.standard(rows) @ self.weights[:, :-1].T + self.weights[:, -1]
        return np.asarray(logits, dtype=np.float32)

    def over(self, matrix: RowMatrix) -> npt.NDArray[np.float32]:
        """(n, c) logits of all rows; one block of embeddings at a time."""
        logits = np.empty((len(matrix), len(self.weights)), dtype=np.float32)
        for start, stop, rows in matrix.blocks():
            logits[start:stop] = self(rows)
        return logits


def fit_softmax(
    rows: Matrix, codes: Codes, *, classes: int, l2: float, start: Matrix | None = None, tolerance: float = 1e-6
) -> Matrix:
    """(c, d + 1) weights and biases of multinomial logistic regression, by L-BFGS.

    Minimises mean cross-entropy + l2/2 ||W||^2; biases are free. O(n d c) a step, one (n, c) matrix.
    Ends where no element of the gradient exceeds ``tolerance``.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    n, d = rows.shape
    truth = np.zeros((n, classes))
    truth[np.arange(n), codes] = 1.0

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        both = flat.reshape(classes, d + 1)
        weights = both[:, :d]
        log_probs = log_softmax(rows @ weights.T + both[:, d], axis=1)
        residual = (np.exp(log_probs) - truth) / n
        gradient = np.concatenate([residual.T @ rows + l2 * weights, residual.sum(0)[:, None]], axis=1)
        value = -(truth * log_probs).sum() / n + 0.5 * l2 * (weights**2).sum()
        return float(value), gradient.ravel()

    begin = np.zeros((classes, d + 1)) if start is None else start
    found = minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": tolerance})
    result: Matrix = found.x.reshape(classes, d + 1)
    return result


def softmax_head(rows: npt.NDArray[Any], codes: Codes, *, classes: int, standard: Standard) -> SoftmaxHead:
    """A head fitted to m labeled embeddings with the penalty ``L2``.

    Args:
        rows: (m, d), codes: (m,) within 0 .. classes - 1; a class may be absent.
    """
    weights = fit_softmax(standard(rows), codes, classes=classes, l2=L2, tolerance=TOLERANCE)
    return SoftmaxHead(standard=standard, weights=weights)


def standard_of(matrices: Sequence[RowMatrix]) -> Standard:
    """Mean and standard deviation of the rows of several matrices, in float64; two passes, one block of memory.

    Args:
        matrices: of one width, with at least one row in all.
    """
    count = sum(map(len, matrices))
    total = sum(rows.sum(axis=0, dtype=np.float64) for m in matrices for _, _, rows in m.blocks())
    mean = np.asarray(total / count)
    squares = sum(((rows.astype(np.float64) - mean) ** 2).sum(axis=0) for m in matrices for _, _, rows in m.blocks())
    spread = np.sqrt(np.asarray(squares / count))
    return Standard(mean=mean, spread=np.where(spread > CONSTANT * spread.max(initial=0.0), spread, 1.0))


def out_of_fold(rows: npt.NDArray[Any], codes: Codes, folds: Rows, *, classes: int, standard: Standard) -> Rows:
    """(m,) the class that a head fitted to the other folds predicts for each row.

    Args:
        folds: (m,) the fold of each row; at least two different ones.
    Cost: one fit for each fold.
    """
    predicted = np.empty(len(codes), dtype=np.intp)
    for fold in np.unique(folds).tolist():
        held = folds == fold
        head = softmax_head(rows[~held], codes[~held], classes=classes, standard=standard)
        predicted[held] = head(rows[held]).argmax(axis=1)
    return predicted


def stratified_folds(codes: Codes, folds: int, rng: np.random.Generator) -> Rows:
    """(m,) a fold for each row, so that a class's rows are spread evenly over them; at random within the class.

    The classes take turns, one going on where the other ended: no fold is favoured.
    """
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    chosen = np.empty(len(codes), dtype=np.intp)
    chosen[order] = np.arange(len(codes)) % folds
    return chosen


def balanced_accuracy(predicted: Codes, codes: Codes) -> float:
    """Mean over the classes that occur of the share of their rows that are predicted right."""
    counts = np.bincount(codes)
    right = np.bincount(codes[predicted == codes], minlength=len(counts))
    seen = counts > 0
    return float((right[seen] / counts[seen]).mean())
