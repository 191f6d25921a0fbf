"""Per-pixel scores summed up in cells of 16 px, and every patch size that is a multiple of them from cells alone.

A cell keeps the sum, the maximum and the number of the valid pixels that lie in it; cells at the right and
lower border are smaller. Patches lie on a grid from the upper left corner without overlap, and those at the border
are smaller too. Pads and ignored pixels never count: not in a sum, not in a maximum, not in a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError

CELL = 16
"""Side of a cell in pixels."""
LEAST_VALID = 0.25
"""A patch of which a smaller share of its own pixels is valid says nothing."""
Grid = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of n images of one size."""

    height: int
    """Of each image in pixels."""
    width: int
    sums: Grid
    """(n, r, q) of the valid pixels of a cell."""
    tops: Grid
    """(n, r, q) largest of them; 0 where there is none."""
    counts: Grid
    """(n, r, q) valid pixels."""

    def __len__(self) -> int:
        return len(self.sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """The patches of n images of one size, i rows by j columns of them."""

    side: int
    means: Grid
    """(n, i, j) over the valid pixels; NaN where there is none."""
    tops: Grid
    """(n, i, j) largest valid pixel; NaN where there is none."""
    counts: Grid
    """(n, i, j) valid pixels."""
    areas: Grid
    """(i, j) pixels, valid or not."""

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """(n, i, j) whether at least ``LEAST_VALID`` of a patch's own pixels are valid."""
        return np.asarray(self.counts >= LEAST_VALID * self.areas)


def cells_of(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> Cells:
    """The cells of score maps.

    Args:
        values: (n, h, w) or (h, w), finite where valid.
        valid: of the same shape; None = every pixel.
    Raises:
        UsageError: another shape, or no pixel at all.
    Cost: O(n h w) time, a float64 copy of the maps.
    """
    maps = np.asarray(values)
    maps = maps[None] if maps.ndim == 2 else maps
    if maps.ndim != 3 or not maps.shape[1] or not maps.shape[2]:
        raise UsageError(f"a score map must have shape (h, w) or (n, h, w) with pixels in it, got {np.shape(values)}")
    mask = _mask(valid, maps)
    counts = _blocks(np.add, mask.astype(np.float64), CELL)
    tops = _blocks(np.maximum, np.where(mask, maps, -np.inf).astype(np.float64), CELL)
    return Cells(
        height=maps.shape[1],
        width=maps.shape[2],
        sums=_blocks(np.add, np.where(mask, maps, 0).astype(np.float64), CELL),
        tops=np.where(counts > 0, tops, 0),
        counts=counts,
    )


def grid_shape(height: int, width: int, side: int = CELL) -> tuple[int, int]:
    """Rows and columns of a grid of squares that covers an image."""
    return -(-height // side), -(-width // side)


def check_patch(patch: int) -> int:
    """``patch`` itself; raises ``UsageError`` unless it is a positive multiple of a cell."""
    if patch < CELL or patch % CELL:
        raise UsageError(f"the side of a patch must be a multiple of {CELL} pixels, got {patch}")
    return patch


def patches_of(cells: Cells, patch: int) -> Patches:
    """Every patch of ``patch`` by ``patch`` pixels, border patches over their own pixels.

    Raises:
        UsageError: the side is no multiple of a cell's.
    Cost: O(cells).
    """
    step = check_patch(patch) // CELL
    counts = _blocks(np.add, cells.counts, step)
    some = counts > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        means = _blocks(np.add, cells.sums, step) / counts
    tops = np.where(cells.counts > 0, cells.tops, -np.inf)
    return Patches(
        side=patch,
        means=means,
        tops=np.where(some, _blocks(np.maximum, tops, step), np.nan),
        counts=counts,
        areas=np.outer(_extents(cells.height, patch), _extents(cells.width, patch)),
    )


def mean(cells: Cells) -> Grid:
    """(n,) mean over the valid pixels; NaN without any."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Grid = cells.sums.sum(axis=(1, 2)) / cells.counts.sum(axis=(1, 2))
    return means


def maximum(cells: Cells) -> Grid:
    """(n,) largest valid pixel; NaN without any."""
    tops = np.where(cells.counts > 0, cells.tops, -np.inf).max(axis=(1, 2))
    return np.where(np.isfinite(tops), tops, np.nan)


def top_patches(cells: Cells, *, patch: int = 64, top: int = 4) -> Grid:
    """(n,) mean of the ``top`` largest patch means, of all of them where there are fewer; NaN without any.

    Patches of which less than a quarter is valid are left out.

    Source: Neven and Goedemé 2022, section 4.3.2, patches of 64 px and the 4 largest.
    """
    if top < 1:
        raise UsageError(f"top must be at least 1 patch, got {top}")
    patches = patches_of(cells, patch)
    means = np.where(patches.kept, patches.means, -np.inf).reshape(len(cells), -1)
    best = -np.sort(-means, axis=1)[:, :top]
    found = np.isfinite(best)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Grid = np.where(found, best, 0).sum(axis=1) / found.sum(axis=1)
    return result


def cut(cells: Cells, *, x: int, y: int, width: int, height: int) -> Cells:
    """The cells of a region that begins at a cell's corner; what lies beyond the image is left out.

    Raises:
        UsageError: the region begins between cells, or ends between them inside of the image.
    """
    right, lower = min(x + width, cells.width), min(y + height, cells.height)
    ends_well = (right % CELL == 0 or right == cells.width) and (lower % CELL == 0 or lower == cells.height)
    if x % CELL or y % CELL or not ends_well or right <= x or lower <= y or x < 0 or y < 0:
        raise UsageError(
            f"region {x},{y},{width},{height} must lie on the grid of {CELL} px inside of"
            f" {cells.width} x {cells.height} pixels"
        )
    rows, columns = slice(y // CELL, -(-lower // CELL)), slice(x // CELL, -(-right // CELL))
    return Cells(
        height=lower - y,
        width=right - x,
        sums=cells.sums[:, rows, columns],
        tops=cells.tops[:, rows, columns],
        counts=cells.counts[:, rows, columns],
    )


def _mask(valid: npt.NDArray[np.bool_] | None, maps: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if valid is None:
        return np.ones(maps.shape, dtype=np.bool_)
    if valid.size != maps.size or valid.shape[-2:] != maps.shape[1:]:
        raise UsageError(f"the valid mask must have the shape of the map {maps.shape[1:]}, got {valid.shape}")
    return np.asarray(valid, dtype=np.bool_).reshape(maps.shape)


def _blocks(combine: np.ufunc, values: Grid, step: int) -> Grid:
    """(n, r, q) of (n, h, w): squares of ``step`` put together, those at the border smaller."""
    by_rows = combine.reduceat(values, np.arange(0, values.shape[1], step), axis=1)
    return np.asarray(combine.reduceat(by_rows, np.arange(0, values.shape[2], step), axis=2))


def _extents(length: int, side: int) -> npt.NDArray[np.float64]:
    """Own pixels of each stretch of ``side`` along ``length``."""
    starts = np.arange(0, length, side)
    return np.minimum(starts + side, length).astype(np.float64) - starts
