"""Gradient embeddings in two factors: distances between (c d)-wide gradients without building one.

The gradient of the cross entropy of the predicted class in the last layer's weights is the outer
product ``g = a (x) h`` of ``a = p - e_y`` (c) and the embedding h (d). So ``<g, g'> = (a.a')(h.h')``
and ``||g||^2 = ||a||^2 ||h||^2``: n (c + d) numbers stand for n c d.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack

from foresift.core.arrays import Logits, Rows
from foresift.core.errors import NonFiniteError
from foresift.core.matrices import RowMatrix
from foresift.kernels.softmax import row_sums, softmax

HELD_BYTES = 1 << 30
"""Loss gradients up to this size are held; larger ones are computed from the logits at every pass."""
SMALL = np.float32(1e-3)
"""Distances below this share of the squared norms have lost three digits or more, and are computed again."""
Floats = npt.NDArray[np.float32]


class Factor(Protocol):
    """(n, c) numbers, read in blocks."""

    def block(self, start: int, stop: int) -> Any:
        """(stop - start, c) rows, dense or sparse."""
        ...

    def take(self, which: Rows) -> Floats:
        """(m, c) rows, dense."""
        ...


def loss_gradients(logits: Logits) -> Floats:
    """(n, c) gradient of the cross entropy of the predicted class in the logits: p - e_y; rows sum to 0.

    The predicted class gets minus the sum of the others: no digits are lost where p approaches 1.

    Args:
        logits: (n, c), finite; the first of equal largest ones is the predicted class.
    Source: Ash et al. 2020, algorithm 1.
    """
    gradients = softmax(logits).astype(np.float32)
    rows, predicted = np.arange(len(gradients)), np.asarray(logits).argmax(axis=1)
    gradients[rows, predicted] = 0
    gradients[rows, predicted] = -row_sums(gradients)
    return gradients


class GradientPoints:
    """The gradients of n rows as points, for D^2 sampling.

    Args:
        factor: (n, c) the gradients in the logits.
        embeddings: (n, d)
        bias: whether the last layer's bias counts, as if every embedding ended in a 1.
    Memory: the embeddings as one float32 copy where that fits, else one block.
    """

    def __init__(self, factor: Factor, embeddings: RowMatrix, *, bias: bool) -> None:
        self._factor = factor
        self._embeddings = RowMatrix(array=embeddings.whole()) if embeddings.fits_memory else embeddings
        self._one = np.float32(bias)
        self.squared_norms = np.empty(len(embeddings), dtype=np.float32)
        for start, stop, rows in self._embeddings.blocks():
            self.squared_norms[start:stop] = _norms(factor.block(start, stop)) * (_norms(rows) + self._one)
        if not np.isfinite(self.squared_norms).all():
            raise NonFiniteError("gradient embeddings need finite logits and embeddings; a row is not, or overflows")

    def __len__(self) -> int:
        return len(self._embeddings)

    def to_nearest(self, picks: Rows) -> Iterator[tuple[int, int, Floats]]:
        """``(start, stop, (stop - start,))`` squared distance of all points to the nearest pick, block by block.

        Cost: two matrix products a block, O(n m (c + d)); reads 4 n (c + d) bytes.
        """
        factor, embeddings = self._factor.take(picks), self._embeddings.take(picks)
        for start, stop, rows in self._embeddings.blocks():
            products = self._products(self._factor.block(start, stop), rows, factor, embeddings)
            products *= np.float32(-2)
            products += self.squared_norms[picks]
            best = products.argmin(axis=1)
            distances = np.take_along_axis(products, best[:, None], axis=1)[:, 0] + self.squared_norms[start:stop]
            yield start, stop, self._refined(distances, np.arange(start, stop), picks[best])

    def between(self, picks: Rows) -> Floats:
        """(m, m) squared distances between m of the points."""
        factor, embeddings = self._factor.take(picks), self._embeddings.take(picks)
        norms = self.squared_norms[picks]
        distances = norms[:, None] + norms - 2 * self._products(factor, embeddings, factor, embeddings)
        row, pick = (at.ravel() for at in np.indices(distances.shape))
        return self._refined(distances.ravel(), picks[row], picks[pick]).reshape(distances.shape)

    def _products(self, a: Any, h: Floats, other_a: Floats, other_h: Floats) -> Floats:
        products = h @ other_h.T
        products += self._one
        products *= a @ other_a.T
        return np.asarray(products)

    def _refined(self, distances: Floats, rows: Rows, others: Rows) -> Floats:
        """The distances, clipped at 0; small ones again from differences, so that copies are at exactly 0."""
        np.maximum(distances, 0, out=distances)
        small = np.flatnonzero(distances < SMALL * (self.squared_norms[rows] + self.squared_norms[others]))
        for at in np.array_split(small, len(small) // 4096 + 1):
            distances[at] = self._differences(rows[at], others[at])
        return distances

    def _differences(self, rows: Rows, others: Rows) -> Floats:
        """||g - g'||^2 of pairs, from a (x) h - a' (x) h' = a (x) (h - h') + (a - a') (x) h'."""
        a, h = self._factor.take(rows), self._embeddings.take(rows)
        other_a, other_h = self._factor.take(others), self._embeddings.take(others)
        da, dh = a - other_a, h - other_h
        mixed = np.einsum("ij,ij->i", a, da) * np.einsum("ij,ij->i", dh, other_h)
        apart = _norms(a) * _norms(dh) + _norms(da) * (_norms(other_h) + self._one)
        return np.asarray(np.maximum(apart + 2 * mixed, 0))


class FromLogits:
    """Loss gradients computed at every reading: for many classes, where (n, c) would not fit memory."""

    def __init__(self, logits: RowMatrix) -> None:
        self._logits = logits

    def block(self, start: int, stop: int) -> Floats:
        """See :class:`Factor`."""
        return loss_gradients(self._logits.block(start, stop))

    def take(self, which: Rows) -> Floats:
        """See :class:`Factor`."""
        return loss_gradients(self._logits.take(which))


class TopClasses:
    """Loss gradients of which only the largest entries of every row are kept.

    Args:
        logits: (n, c)
        kept: entries a row, 1 .. c.
    Memory: 8 bytes an entry kept.
    """

    def __init__(self, logits: RowMatrix, kept: int) -> None:
        parts, dropped = [], 0.0
        for _, _, rows in logits.blocks():
            gradients = loss_gradients(rows)
            columns = np.sort(np.argpartition(-np.abs(gradients), kept - 1, axis=1)[:, :kept], axis=1)
            values = np.take_along_axis(gradients, columns, axis=1)
            ends = np.arange(len(rows) + 1) * kept
            parts.append(csr_array((values.ravel(), columns.ravel().astype(np.int32), ends), shape=gradients.shape))
            norms = _norms(gradients)
            lost = np.maximum(norms - _norms(values), 0)
            dropped = max(dropped, float(np.max(np.divide(lost, norms, out=np.zeros_like(lost), where=norms > 0))))
        self._kept = vstack(parts, format="csr")
        self.dropped = dropped
        """The largest share of a row's squared norm that was dropped."""

    def block(self, start: int, stop: int) -> csr_array:
        """See :class:`Factor`."""
        return self._kept[start:stop]

    def take(self, which: Rows) -> Floats:
        """See :class:`Factor`."""
        return np.asarray(self._kept[which].toarray())


def gradient_factor(logits: RowMatrix) -> Factor:
    """The loss gradients of all rows: held where (n, c) is small, else computed at every reading."""
    if 4 * len(logits) * logits.width > HELD_BYTES:
        return FromLogits(logits)
    held = np.empty((len(logits), logits.width), dtype=np.float32)
    for start, stop, rows in logits.blocks():
        held[start:stop] = loss_gradients(rows)
    return RowMatrix(array=held)


def _norms(rows: Any) -> Floats:
    """(n,) sums of squares of the rows of a dense or a sparse matrix."""
    if isinstance(rows, np.ndarray):
        return np.asarray(np.einsum("ij,ij->i", rows, rows))
    return np.asarray(rows.multiply(rows).sum(axis=1))
