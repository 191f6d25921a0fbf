"""Phase 2 of a k-DPP: k rows from the span of k orthonormal columns, by rejection, in blocks.

The rows of V are never held together: a proposal's row is computed when it is proposed, about
k (log k + 1) of them in all. Only the squared norms of all n rows (leverages) must be known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import NonFiniteError

Array: TypeAlias = npt.NDArray[np.floating[Any]]
ReadRows: TypeAlias = Callable[[Rows], Array]
"""Row numbers (b,) to those rows of a matrix, (b, k) or (b, D)."""

SLACK = 1e-4
"""Leverages may be too small by this share (they come from float32 products): acceptance stays below 1."""
BLOCK = 512
ROUGH = 1e-3
"""Share of a leverage by which a squared residual in float32 may be wrong: far more than its rounding adds up to."""
ACCEPTED_A_BLOCK = 32
"""Proposals a block: as many as give about this many accepted rows, at most ``BLOCK``."""


def sample_projection(
    leverage: Array, read: ReadRows, k: int, rng: np.random.Generator, *, roughly: ReadRows | None = None
) -> Rows:
    """(k,) distinct rows with P(Y) = det(V_Y)^2, in the order in which they were accepted.

    A row is proposed with probability prop. to ||V_i||^2 and accepted with probability residual /
    leverage, its part outside of the span of what was accepted before: exactly the conditional
    law of the chain rule. Proposals are independent of what was accepted, so a block of them is
    read and projected by two matrix products; within a block every accepted row is taken out of
    the later ones. Expected proposals: k H_k. O(k^3 log k) time and O(k^2 + n) memory, beside reading.

    Args:
        leverage: (n,) squared row norms of V, up to a relative error of ``SLACK``; they sum to k.
        read: rows of V, (n, k) with orthonormal columns.
        k: 1 .. n.
        roughly: the same rows in float32. Proposals that these rule out, in the end nine in ten of them, are not
            looked at in float64: the rows drawn are the same, in half the time where k is thousands.
    Raises:
        NonFiniteError: the leverages hold fewer than k positive numbers, or V is far from orthonormal.
    Source: Barthelme, Tremblay and Amblard 2023, algorithm 3; in blocks here.
    """
    total = np.cumsum(np.asarray(leverage, dtype=np.float64))
    if np.count_nonzero(leverage) < k or not np.isfinite(total[-1]):
        raise NonFiniteError(f"{np.count_nonzero(leverage)} rows have positive finite leverage, {k} are to be drawn")
    picks = _Accepted(k, rough=roughly is not None)
    for _ in range(_most_blocks(k)):
        size = _block_size(k, picks.count)
        proposed = np.searchsorted(total, rng.random(size) * total[-1], side="right")
        thresholds = rng.random(size) * leverage[proposed] * (1 + SLACK)
        if roughly is not None:
            may_pass = picks.roughly_outside(roughly(proposed)) > thresholds - ROUGH * leverage[proposed]
            proposed, thresholds = proposed[may_pass], thresholds[may_pass]
        picks.add_from(proposed, read(proposed), thresholds)
        if picks.count == k:
            return picks.rows
    raise NonFiniteError(f"only {picks.count} of {k} rows were accepted: the eigenvectors are far from orthonormal")


class _Accepted:
    """The rows accepted so far, and an orthonormal basis of their rows of V."""

    def __init__(self, k: int, *, rough: bool = False) -> None:
        self.rows = np.empty(k, dtype=np.intp)
        self.count = 0
        self._basis = np.empty((k, k))
        self._rough_basis = np.empty((k, k) if rough else (0, 0), dtype=np.float32)

    def add_from(self, proposed: Rows, vectors: Array, thresholds: Array) -> None:
        """Accept, in order, the proposals whose squared residual is above their threshold.

        Residuals only shrink: what lies below its threshold when the block begins is dropped at once.
        """
        residuals = self._outside(vectors)
        alive = np.einsum("ij,ij->i", residuals, residuals) > thresholds
        proposed, thresholds = proposed[alive], thresholds[alive]
        residuals = self._outside(residuals[alive])  # once more: what cancelled the first time is exact now
        begin = self.count
        for at in range(len(proposed)):
            if self.count == len(self.rows):
                return
            if proposed[at] not in self.rows[: self.count] and residuals[at] @ residuals[at] > thresholds[at]:
                direction = self._accept(int(proposed[at]), residuals[at], begin)
                later = residuals[at + 1 :]
                later -= np.outer(later @ direction, direction)

    def _accept(self, row: int, residual: Array, begin: int) -> Array:
        block = self._basis[begin : self.count]
        direction = residual - (residual @ block.T) @ block  # once more, against the rows of this block
        direction /= np.sqrt(direction @ direction)
        self.rows[self.count], self._basis[self.count] = row, direction
        if self._rough_basis.size:
            self._rough_basis[self.count] = direction
        self.count += 1
        return np.asarray(direction)

    def roughly_outside(self, vectors: Array) -> Array:
        """(b,) squared lengths of what is orthogonal to the accepted, of (b, k) vectors in float32."""
        basis = self._rough_basis[: self.count]
        residuals = vectors - (vectors @ basis.T) @ basis
        return np.asarray(np.einsum("ij,ij->i", residuals, residuals))

    def _outside(self, vectors: Array) -> Array:
        """(b, k) the part of each vector orthogonal to what was accepted."""
        basis = self._basis[: self.count]
        return np.asarray(vectors - (vectors @ basis.T) @ basis)


def _block_size(k: int, count: int) -> int:
    """Proposals of the next block: of k - count in k is accepted one."""
    return max(1, min(BLOCK, -(-ACCEPTED_A_BLOCK * k // (k - count))))


def _most_blocks(k: int) -> int:
    """Far above the blocks that k H_k proposals take: twenty times that count was never seen to fail."""
    return int(1000 + 20 * k * (np.log(k) + 1) / ACCEPTED_A_BLOCK) + 20 * k
