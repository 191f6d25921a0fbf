"""The column ``patch-grid``: one row an image or a patch, whatever their sizes; a row is read without the others.

Row: height, width, then the counts, the sums and the maxima of its own cells, then zeros up to the width of the
column, which is that of its largest grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import DataError
from foresift.kernels.patch_grid import Cells, Grid, grid_shape

HEAD = 2
PARTS = 3
"""Counts, sums, maxima."""
Packed = npt.NDArray[np.float32]


def row_width(height: int, width: int) -> int:
    """Numbers that an image of this size takes."""
    rows, columns = grid_shape(height, width)
    return HEAD + PARTS * rows * columns


def pack(parts: Sequence[Cells]) -> Packed:
    """(n, width) rows of the images of all parts, one after the other."""
    width = max((row_width(one.height, one.width) for one in parts), default=HEAD)
    packed = np.zeros((sum(map(len, parts)), width), dtype=np.float32)
    start = 0
    for one in parts:
        rows = packed[start : start + len(one)]
        rows[:, :HEAD] = one.height, one.width
        flat = [part.reshape(len(one), -1) for part in (one.counts, one.sums, one.tops)]
        rows[:, HEAD : row_width(one.height, one.width)] = np.concatenate(flat, axis=1)
        start += len(one)
    return packed


def unpack(packed: npt.NDArray[np.floating]) -> Iterator[tuple[Rows, Cells]]:
    """Which rows have a size in common, and their cells; sizes in ascending order.

    Raises:
        DataError: a row that is no grid.
    """
    if packed.ndim != 2 or packed.shape[1] < HEAD:
        raise DataError(f"patch-grid must have shape (n, width), got {packed.shape}")
    for height, width in np.unique(packed[:, :HEAD], axis=0).astype(int).tolist():
        if height < 1 or width < 1 or row_width(height, width) > packed.shape[1]:
            raise DataError(f"patch-grid holds a row of {height} x {width} pixels that does not fit its width")
        at = np.flatnonzero((packed[:, 0] == height) & (packed[:, 1] == width))
        yield at, _cells(packed[at], height, width)


def each_row(packed: npt.NDArray[np.floating], value: Callable[[Cells], Grid]) -> npt.NDArray[np.float64]:
    """(n,) a value of each row, computed for all rows of one size at once; NaN for a row that is not finite."""
    values = np.full(len(packed), np.nan)
    finite = np.flatnonzero(np.isfinite(packed).all(axis=1))
    for at, cells in unpack(packed[finite]):
        values[finite[at]] = value(cells)
    return values


def _cells(rows: npt.NDArray[np.floating], height: int, width: int) -> Cells:
    grid = (PARTS, len(rows), *grid_shape(height, width))
    numbers = rows[:, HEAD : row_width(height, width)].astype(np.float64)
    counts, sums, tops = numbers.reshape(len(rows), PARTS, *grid[2:]).transpose(1, 0, 2, 3)
    return Cells(height=height, width=width, sums=sums, tops=tops, counts=counts)
