"""Squared Euclidean distances by matrix products: of blocks, to the nearest of a set, from the mean.

``||x||^2 + ||c||^2 - 2 x.c`` costs one matrix product and loses the digits that the norms and
the distance do not share. So data are centred first, results are clipped at 0, and distances
that are small beside the norms are computed again from the difference: copies are at exactly 0.

The last bits of a matrix product may depend on how many rows it had. Where they decide (a tie
between different points), compare sums of squared differences in float64 instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels.blocks import BLOCK_ELEMENTS, row_blocks

Floats = npt.NDArray[np.float32]

SMALL = np.float32(1e-3)
"""Distances below this share of the squared norms have lost three digits or more, and are computed again."""


def unit_rows(rows: npt.NDArray[np.floating[Any]]) -> Floats:
    """(b, d) each row divided by its length; zero rows stay as they are. A row's result depends on that row alone."""
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.square(exact).sum(axis=1))
    return np.asarray(np.divide(exact, np.where(lengths > 0, lengths, 1)[:, None]), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRows(RowMatrix):
    """The rows of a matrix at length 1, whose Euclidean distances are ``sqrt(2 - 2 cosine)``."""

    def block(self, start: int, stop: int) -> Floats:
        """(stop - start, d) rows of length 1."""
        return unit_rows(RowMatrix.block(self, start, stop))

    def take(self, which: npt.NDArray[np.integer[Any]] | list[int]) -> Floats:
        """(k, d) the rows at the given positions at length 1."""
        return unit_rows(RowMatrix.take(self, which))

    def subset(self, which: Rows) -> UnitRows:
        """The rows at the given positions, as a matrix of their own; nothing is copied."""
        chosen = RowMatrix.subset(self, which)
        return UnitRows(array=chosen.array, rows=chosen.rows)


def mean_row(matrix: RowMatrix) -> npt.NDArray[np.float64]:
    """(d,) the mean of all rows, summed in float64; zeros where there are no rows. O(n d), one block of memory."""
    total = np.zeros(matrix.width)
    for _, _, rows in matrix.blocks():
        total += rows.sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(1, len(matrix)))


def centred(matrix: RowMatrix, mean: npt.NDArray[np.floating[Any]]) -> Floats:
    """(n, d) a copy of all rows less ``mean`` (d,), which holds 4 n d bytes; ask ``matrix.fits_memory`` first."""
    result = np.empty((len(matrix), matrix.width), dtype=np.float32)
    origin = np.asarray(mean, dtype=np.float32)
    for start, stop, rows in matrix.blocks():
        np.subtract(rows, origin, out=result[start:stop])
    return result


def squared_distances_from(matrix: RowMatrix, point: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """(n,) squared distance of every row to one point (d,), from differences in float64.

    A row's result depends on that row and the point alone, bit for bit. O(n d), one block of memory.
    """
    result = np.empty(len(matrix))
    for start, stop, rows in matrix.blocks():
        gaps = rows - point.astype(np.float64)
        result[start:stop] = np.square(gaps, out=gaps).sum(axis=1)
    return result


def squared_norms(matrix: RowMatrix) -> Floats:
    """(n,) the sum of squares of every row. O(n d), one block of memory."""
    result = np.empty(len(matrix), dtype=np.float32)
    for start, stop, rows in matrix.blocks():
        result[start:stop] = _norms(rows)
    return result


def squared_distances(rows: Floats, centres: Floats) -> Floats:
    """(b, m) squared Euclidean distances, each 0 or more, exactly 0 between copies.

    Fast where data are centred: an offset that is large beside the distances makes every one of
    them small beside the norms, and then all are computed from differences.

    Args:
        rows: (b, d), one block of rows.
        centres: (m, d).
    Cost: one matrix product, O(b m d) time and O(b m) memory.
    """
    norms, centre_norms = _norms(rows), _norms(centres)
    result = np.matmul(rows, np.float32(-2) * centres.T)
    result += norms[:, None]
    result += centre_norms
    np.maximum(result, 0, out=result)
    small = result < (SMALL * norms)[:, None] + SMALL * centre_norms
    for row, centre in _chunks(*np.nonzero(small), width=rows.shape[1]):
        result[row, centre] = _norms(rows[row] - centres[centre])
    return np.asarray(result)


def nearest(matrix: RowMatrix, centres: Floats) -> tuple[Floats, Rows]:
    """(n,) squared distance of every row to the nearest centre, and (n,) which; the first of equally near ones.

    Args:
        matrix: (n, d)
        centres: (m, d), at least one.
    Raises:
        UsageError: no centre.
    Cost: one matrix product per block, O(n m d) time, one block of memory. Rows that are close to their
        nearest centre, beside the norms, take another product and differences.
    """
    if not len(centres):
        raise UsageError("the nearest of no centres was asked for; give at least one")
    distances, which = np.empty(len(matrix), dtype=np.float32), np.empty(len(matrix), dtype=np.intp)
    origin = centres.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved = centres - origin
    for start, _, rows in matrix.blocks():
        for low, high in row_blocks(len(rows), width=len(centres)):
            part = slice(start + low, start + high)
            distances[part], which[part] = _nearest_in_block(rows[low:high] - origin, moved)
    return distances, which


def _nearest_in_block(rows: Floats, centres: Floats) -> tuple[Floats, Rows]:
    """As :func:`nearest`, for one block: the smallest distance is where x.c - |c|^2 / 2 is largest."""
    norms = _norms(centres)
    scores = rows @ centres.T
    scores -= norms / 2
    which = scores.argmax(axis=1)
    distances = _norms(rows - centres[which])
    # not "<", so that what overflowed is among them
    lost = np.flatnonzero(~(distances >= SMALL * (_norms(rows) + norms[which])))
    exact = squared_distances(rows[lost], centres)
    which[lost] = exact.argmin(axis=1)
    distances[lost] = exact[np.arange(len(lost)), which[lost]]
    return distances, which


def _norms(rows: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _chunks(row: Rows, centre: Rows, *, width: int) -> list[tuple[Rows, Rows]]:
    """Pairs in parts of about ``BLOCK_ELEMENTS`` numbers."""
    step = max(1, BLOCK_ELEMENTS // max(1, width))
    return [(row[at : at + step], centre[at : at + step]) for at in range(0, len(row), step)]
