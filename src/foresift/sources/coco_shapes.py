"""The shapes of COCO annotations as grids of pixels: polygons and run lengths, plain or compressed.

Source of the formats: Lin et al. 2014, *Microsoft COCO*, and the format description of its web page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.errors import DataError

Grid: TypeAlias = npt.NDArray[np.bool_]
"""(h, w) whether the pixel belongs to the shape."""


def shape_grid(shape: Any, height: int, width: int) -> Grid:
    """(h, w) pixels of the ``segmentation`` of an annotation: a list of polygons, or an object of run lengths.

    Raises:
        DataError: neither, or numbers that make no sense.
    """
    if isinstance(shape, Mapping):
        return _of_runs(shape, height, width)
    if isinstance(shape, list):
        grid = np.zeros((height, width), dtype=np.bool_)
        for points in shape:
            grid |= polygon_grid(points, height, width)
        return grid
    raise DataError(f"a segmentation must be polygons or run lengths, got {type(shape).__name__}")


def polygon_grid(points: Any, height: int, width: int) -> Grid:
    """(h, w) pixels whose centres lie inside a polygon, by the even-odd rule.

    COCO's own tools count boundary pixels a little differently, by tracing the outline at five times
    the resolution; no pixel here is further than one from their outline.

    Args:
        points: x1, y1, x2, y2, ... in pixels; the last point joins the first.
    Cost: O(h w + number of points times h).
    """
    corners = _corners(points)
    toggles = np.zeros((height, width + 1), dtype=np.int32)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        # From the upper end, whoever draws it: two neighbours that share an edge round its crossings alike.
        (top, left), (bottom, right) = sorted(((y1, x1), (y2, x2)))
        # Rows whose centre y + 1/2 lies in [top, bottom): each corner belongs to one of its two edges.
        first, last = max(0, math.ceil(top - 0.5)), min(height, math.ceil(bottom - 0.5))
        rows = np.arange(first, last)
        crossings = left + (rows + 0.5 - top) * ((right - left) / (bottom - top))
        toggles[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)] += 1
    inside: Grid = np.cumsum(toggles[:, :width], axis=1) % 2 == 1
    return inside


def _corners(points: Any) -> npt.NDArray[np.float64]:
    try:
        flat = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("a polygon must be a list of numbers x1, y1, x2, y2, ...") from None
    if flat.ndim != 1 or flat.size < 6 or flat.size % 2 or not np.isfinite(flat).all() or abs(flat).max() > 1e6:
        raise DataError("a polygon must be at least three points x1, y1, x2, y2, ... of finite numbers")
    return flat.reshape(-1, 2)


def _of_runs(shape: Mapping[str, Any], height: int, width: int) -> Grid:
    """Run lengths down the columns, beginning with pixels outside."""
    counts, size = shape.get("counts"), shape.get("size")
    if size != [height, width]:
        raise DataError(f"run lengths of size {size}, the image is [{height}, {width}]")
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, Sequence) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise DataError("run lengths must be whole numbers of at least 0, or their compressed text")
    if sum(runs) != height * width:
        raise DataError(f"run lengths of {sum(runs)} pixels, the image has {height * width}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _uncompressed(text: str) -> list[int]:
    """The runs of COCO's compressed text.

    Each number is a signed one in groups of five bits, the lowest first, as characters from "0" on;
    bit 6 says that another group follows. From the fourth on, it is the difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise DataError("run lengths: not COCO's compressed text")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("run lengths: the compressed text ends in the middle of a number")
    return runs
