"""Which rows are nearer to each other than a cosine distance, without a matrix of all pairs.

The cosine distance is 1 - cos of the angle, within [0, 2]. A row of zeros has no angle: it is at 0
from other rows of zeros and at 1 from the rest. Matrix products run in float32; pairs whose distance
is so close to the limit that rounding could decide are computed again in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.kernels.blocks import BLOCK_ELEMENTS, row_blocks

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
BAND = 1e-5
"""How far a float32 distance of unit rows may be off, with room to spare."""


def unit_rows(rows: npt.NDArray[np.floating[Any]], dtype: Any = np.float32) -> npt.NDArray[np.floating[Any]]:
    """(b, d + 1) rows of length 1: a row of zeros points where no other row does, along the last axis."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    result = np.zeros((len(rows), rows.shape[1] + 1), dtype=dtype)
    some = lengths > 0
    np.divide(rows, lengths[:, None], out=result[:, :-1], where=some[:, None], casting="same_kind")
    result[~some, -1] = 1
    return result


def near_pairs(rows: Floats, others: Floats, distance: float) -> Mask:
    """(b, m) whether two rows are nearer than ``distance``.

    Args:
        rows: (b, d), others: (m, d), finite.
        distance: cosine distance, above 0.
    Cost: one matrix product, O(b m d) time, O(b m) memory.
    """
    gaps = 1 - unit_rows(rows) @ unit_rows(others).T
    result = np.asarray(gaps < distance)
    row, other = np.nonzero(np.abs(gaps - distance) <= BAND)
    result[row, other] = _near_exactly(rows, others, row, other, distance)
    return result


def nearer_than(matrix: RowMatrix, others: RowMatrix, distance: float) -> Mask:
    """(n,) whether a row is nearer than ``distance`` to any of the others.

    Args:
        matrix: (n, d), others: (m, d); both are read in blocks.
    Cost: matrix products, O(n m d) time, one block of memory each.
    """
    result = np.zeros(len(matrix), dtype=np.bool_)
    for _, _, references in others.blocks() if len(matrix) else ():
        units = unit_rows(references)
        for start, _, rows in matrix.blocks():
            for low, high in row_blocks(len(rows), width=len(references)):
                part = slice(start + low, start + high)
                result[part] |= _near_any(rows[low:high], references, units, distance)
    return result


def _near_any(rows: Floats, others: Floats, units: npt.NDArray[np.floating[Any]], distance: float) -> Mask:
    gaps = 1 - unit_rows(rows) @ units.T
    result = np.asarray((gaps < distance - BAND).any(axis=1))
    row, other = np.nonzero((np.abs(gaps - distance) <= BAND) & ~result[:, None])
    result[row[_near_exactly(rows, others, row, other, distance)]] = True
    return result


def _near_exactly(rows: Floats, others: Floats, row: Rows, other: Rows, distance: float) -> Mask:
    """(p,) whether the pairs (``row``, ``other``) are nearer than ``distance``, in float64."""
    result = np.zeros(len(row), dtype=np.bool_)
    step = max(1, BLOCK_ELEMENTS // max(1, rows.shape[1]))
    for at in range(0, len(row), step):
        part = slice(at, at + step)
        a, b = unit_rows(rows[row[part]], np.float64), unit_rows(others[other[part]], np.float64)
        result[part] = 1 - np.einsum("ij,ij->i", a, b) < distance
    return result
