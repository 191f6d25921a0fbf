"""Sums of products over the parts of a pool that give what one pass over all of it would give.

Whoever makes the parts, in whatever order they come: sums are taken in the order of the shards, so that their last
bits do not depend on it. Top-k has its merge in :mod:`foresift.kernels.topk`, what members of an ensemble say in
:mod:`foresift.core.members`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Gram:
    """Products of the columns of some rows, with what centring them takes."""

    shard: int
    """Which part of the pool; parts have different numbers."""
    n: int
    total: npt.NDArray[np.float64]
    """(d,) sum of the rows."""
    products: npt.NDArray[np.float64]
    """(d, d) X' X."""

    @classmethod
    def of(cls, matrix: RowMatrix, *, shard: int = 0) -> Gram:
        """Of the (n, d) rows of a shard: float64 products of blocks. O(n d^2), one block of memory."""
        total, products = np.zeros(matrix.width), np.zeros((matrix.width, matrix.width))
        for _, _, block in matrix.blocks():
            rows = block.astype(np.float64)
            total += rows.sum(axis=0)
            products += rows.T @ rows
        return cls(shard=shard, n=len(matrix), total=total, products=products)

    @property
    def scatter(self) -> npt.NDArray[np.float64]:
        """(d, d) X' X of centred rows."""
        return self.products - np.outer(self.total, self.total) / max(1, self.n)

    def leverage(self, matrix: RowMatrix, *, ridge: float) -> npt.NDArray[np.float64]:
        """(m,) ``x' (X' X + ridge I)^-1 x`` of any rows, such as those of one shard, against the whole.

        Args:
            ridge: above 0.
        Source: Alaoui and Mahoney 2015, ridge leverage scores.
        """
        lower = np.linalg.cholesky(self.products + ridge * np.eye(len(self.total)))
        scores = [np.linalg.solve(lower, block.astype(np.float64).T) for _, _, block in matrix.blocks()]
        return np.concatenate([(part * part).sum(axis=0) for part in scores]) if scores else np.zeros(0)


def merge_grams(parts: Iterable[Gram]) -> Gram:
    """The one of all rows, added in the order of the shards.

    Raises:
        UsageError: no parts, other widths, or a shard twice.
    """
    ordered = sorted(parts, key=lambda part: part.shard)
    shards = [part.shard for part in ordered]
    if not ordered or len(set(shards)) < len(shards) or len({len(part.total) for part in ordered}) > 1:
        raise UsageError(f"expected parts of different shards and the same width, got the shards {shards}")
    total, products = np.zeros_like(ordered[0].total), np.zeros_like(ordered[0].products)
    for part in ordered:
        total += part.total
        products += part.products
    return Gram(shard=shards[0], n=sum(part.n for part in ordered), total=total, products=products)
