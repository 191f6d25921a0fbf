"""Rows in blocks, so that working memory depends on the block and not on the pool."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_ELEMENTS = 1 << 18
"""Elements of a block: 1 MiB of float32, which stays in a core's second-level cache."""


def row_blocks(n: int, *, width: int) -> Iterator[tuple[int, int]]:
    """``(start, stop)`` of consecutive blocks of about ``BLOCK_ELEMENTS / width`` of n rows."""
    step = max(64, BLOCK_ELEMENTS // max(1, width))
    return ((start, min(start + step, n)) for start in range(0, n, step))
