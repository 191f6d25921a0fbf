"""Large images in windows that overlap: each pixel is taken from the window in which it lies deepest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from foresift.core.errors import UsageError

STRIDE = 32
"""Windows begin at multiples of it: what encoders reduce by."""
ALIGN = 16
"""Parts that are kept begin at multiples of it: the side of a cell."""


@dataclass(frozen=True, slots=True)
class Span:
    """A window along one side of an image."""

    start: int
    stop: int
    keep_from: int
    keep_to: int
    """What is kept of it: the spans of all windows cover the side once."""

    @property
    def kept(self) -> slice:
        """The same, from the window's own beginning."""
        return slice(self.keep_from - self.start, self.keep_to - self.start)


@dataclass(frozen=True, slots=True)
class Window:
    """A window, and what is kept of it."""

    rows: Span
    columns: Span


def spans(length: int, *, tile: int, overlap: int) -> list[Span]:
    """Windows of ``tile`` along a side; the last one begins at a multiple of ``STRIDE`` and may be a little smaller.

    Args:
        length: in pixels; ``tile`` and ``overlap`` are multiples of ``STRIDE``.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    starts = [*range(0, length - tile, tile - overlap), -(-(length - tile) // STRIDE) * STRIDE]
    # The middle of what two windows have in common, down to the corner of a cell.
    cuts = [(nxt + this + tile) // 2 // ALIGN * ALIGN for this, nxt in pairwise(starts)]
    edges = [0, *cuts, length]
    return [Span(s, min(s + tile, length), edges[i], edges[i + 1]) for i, s in enumerate(starts)]


def windows(height: int, width: int, *, tile: int, overlap: int) -> Iterator[Window]:
    """Windows over an image; one over all of it up to twice the pixels of a tile."""
    side = max(height, width) if height * width <= 2 * tile * tile else tile
    for rows in spans(height, tile=side, overlap=overlap):
        for columns in spans(width, tile=side, overlap=overlap):
            yield Window(rows, columns)


def check_tiles(tile: int, overlap: int) -> None:
    """Refuse windows that don't fit the grid.

    Raises:
        UsageError: not multiples of ``STRIDE``, or an overlap of half a tile or more.
    """
    if tile < STRIDE or tile % STRIDE or overlap % STRIDE or not 0 <= overlap <= tile // 2:
        raise UsageError(
            f"tile and overlap must be multiples of {STRIDE} px, the overlap at most half a tile;"
            f" got {tile} and {overlap}"
        )
