"""Similarities for greedy coverage: computed in blocks whenever they are needed, or the strongest stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.core.matrices import RowMatrix
from foresift.kernels.coverage import SLACK, Similarity
from foresift.kernels.distances import unit_rows
from foresift.kernels.graphs import Graph, joined, starts_of
from foresift.kernels.greedy import CANDIDATES

REFERENCES = 8192
"""References in a block: with ``CANDIDATES`` 16 MiB of similarities."""

Block = npt.NDArray[np.float32]


class Kernel(Protocol):
    """A number for two rows, in two steps: once for each row, once for each pair."""

    def prepare(self, rows: Block) -> Block:
        """(b, d') what pairs need of (b, d) rows."""
        ...

    def __call__(self, a: Block, b: Block) -> Block:
        """(i, j) numbers, 0 or more, of prepared (i, d') and (j, d') rows."""
        ...


@dataclass(frozen=True, slots=True)
class Cosine:
    """Cosine of the angle between two rows, 0 where it is negative; a row of zeros is similar to nothing."""

    def prepare(self, rows: Block) -> Block:
        """(b, d) rows of length one, and rows of zeros."""
        return unit_rows(rows)

    def __call__(self, a: Block, b: Block) -> Block:
        """(i, j) cosines, clipped to 0 .. 1 against rounding."""
        return np.asarray(np.clip(a @ b.T, 0, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """exp(-(distance / scale)^2); rows are centred first, so that their squared lengths cancel little."""

    centre: npt.NDArray[np.float32]
    """(d,)"""
    scale: float

    def prepare(self, rows: Block) -> Block:
        """(b, d + 1) centred rows over the scale, and their squared length."""
        ready = np.empty((len(rows), rows.shape[1] + 1), dtype=np.float32)
        np.subtract(rows, self.centre, out=ready[:, :-1])
        ready[:, :-1] /= np.float32(self.scale)
        np.einsum("ij,ij->i", ready[:, :-1], ready[:, :-1], out=ready[:, -1])
        return ready

    def __call__(self, a: Block, b: Block) -> Block:
        """(i, j) similarities within 0 .. 1."""
        squares = a[:, :-1] @ b[:, :-1].T
        squares *= -2
        squares += a[:, -1:]
        squares += b[:, -1]
        np.maximum(squares, 0, out=squares)
        return np.asarray(np.exp(np.negative(squares, out=squares), out=squares))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Rows as a kernel wants them: in memory where they fit, else prepared block by block."""

    kernel: Kernel
    matrix: RowMatrix
    ready: bool

    @classmethod
    def of(cls, matrix: RowMatrix, kernel: Kernel) -> Prepared:
        """One copy of all rows as float32, or none."""
        if not matrix.fits_memory or not len(matrix):
            return cls(kernel=kernel, matrix=matrix, ready=False)
        blocks = matrix.blocks()
        first = kernel.prepare(next(blocks)[2])
        whole = np.empty((len(matrix), first.shape[1]), dtype=np.float32)
        whole[: len(first)] = first
        for start, stop, rows in blocks:
            whole[start:stop] = kernel.prepare(rows)
        return cls(kernel=kernel, matrix=RowMatrix(array=whole), ready=True)

    def __len__(self) -> int:
        return len(self.matrix)

    def subset(self, rows: Rows) -> Prepared:
        """The given rows; copied where they are in memory."""
        chosen = RowMatrix(array=self.matrix.take(rows)) if self.ready else self.matrix.subset(rows)
        return Prepared(kernel=self.kernel, matrix=chosen, ready=self.ready)

    def take(self, rows: Rows) -> Block:
        """(b, d') the given rows."""
        taken = self.matrix.take(rows)
        return taken if self.ready else self.kernel.prepare(taken)

    def blocks(self, size: int) -> Iterator[tuple[int, int, Block]]:
        """``(start, stop, rows)`` of consecutive blocks of ``size`` rows."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            rows = self.matrix.block(start, stop)
            yield start, stop, rows if self.ready else self.kernel.prepare(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedSimilarity(Similarity):
    """Every similarity, computed when it is needed: O(d) time each, 16 MiB a block."""

    candidates: Prepared
    references: Prepared

    @property
    def n_candidates(self) -> int:
        """n."""
        return len(self.candidates)

    @property
    def n_references(self) -> int:
        """r."""
        return len(self.references)

    def gains(self, rows: Rows, covered: npt.NDArray[np.float32]) -> Values:
        """(b,) float64 sum of what exceeds the (r,) coverage by more than ``SLACK``."""
        features = self.candidates.take(rows)
        total = np.zeros(len(rows))
        for start, stop, others in self.references.blocks(REFERENCES):
            above = self.candidates.kernel(features, others)
            above -= covered[start:stop] + np.float32(SLACK)
            total += np.maximum(above, 0, out=above).sum(axis=1, dtype=np.float64)
        return total

    def cover(self, row: int, covered: npt.NDArray[np.float32]) -> None:
        """Raise the (r,) coverage, in place, by one candidate."""
        self._raise(covered, self.candidates.take(np.array([row])))

    def cover_by(self, others: Prepared, covered: npt.NDArray[np.float32]) -> None:
        """Raise the (r,) coverage, in place, by rows of another matrix; m r similarities."""
        for _, _, features in others.blocks(CANDIDATES):
            self._raise(covered, features)

    def _raise(self, covered: npt.NDArray[np.float32], features: Block) -> None:
        for start, stop, others in self.references.blocks(REFERENCES):
            reached = self.candidates.kernel(features, others).max(axis=0)
            np.maximum(covered[start:stop], reached, out=covered[start:stop])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSimilarity(Similarity):
    """Some similarities, all others 0: O(edges) memory, and no product of matrices in a gain."""

    graph: Graph
    """From n candidates to r references, weighted by similarity."""
    missed: float
    """At most so much of the mean coverage is not seen: what is left out is no larger than what is kept."""

    @property
    def n_candidates(self) -> int:
        """n."""
        return len(self.graph)

    @property
    def n_references(self) -> int:
        """r."""
        return self.graph.n_targets

    def gains(self, rows: Rows, covered: npt.NDArray[np.float32]) -> Values:
        """(b,) float64 sum of what exceeds the (r,) coverage by more than ``SLACK``; O(edges of the rows)."""
        edges = self.graph.edges_of(rows)
        above = self.graph.weights[edges] - (covered[self.graph.targets[edges]] + np.float32(SLACK))
        at = np.repeat(np.arange(len(rows)), self.graph.starts[rows + 1] - self.graph.starts[rows])
        return np.bincount(at, weights=np.maximum(above, 0), minlength=len(rows)).astype(np.float64)

    def cover(self, row: int, covered: npt.NDArray[np.float32]) -> None:
        """Raise the (r,) coverage, in place, by one candidate."""
        edges = slice(self.graph.starts[row], self.graph.starts[row + 1])
        at = self.graph.targets[edges]
        covered[at] = np.maximum(covered[at], self.graph.weights[edges])


def strongest(similarity: ComputedSimilarity, k: int) -> StoredSimilarity:
    """Only the k largest similarities of each reference, equal ones those of the lower rows.

    Cost: all n r similarities once; O(r k) memory.
    Source: sparse facility location, as in Lindgren et al. 2016.
    """
    n = similarity.n_candidates
    parts = [
        _strongest_of(similarity, features, min(k, n)) for _, _, features in similarity.references.blocks(CANDIDATES)
    ]
    by_reference = joined(parts)
    smallest = by_reference.weights.reshape(similarity.n_references, -1).min(axis=1)
    missed = 0.0 if k >= n else float(smallest.mean(dtype=np.float64))
    return StoredSimilarity(graph=by_reference.transposed(), missed=missed)


def _strongest_of(similarity: ComputedSimilarity, references: Block, k: int) -> Graph:
    """Edges from a block of references to their k most similar candidates."""
    best = np.empty((len(references), 0), dtype=np.float32)
    which = np.empty((len(references), 0), dtype=np.int32)
    for start, stop, rows in similarity.candidates.blocks(REFERENCES):
        found = similarity.candidates.kernel(references, rows)
        number = np.broadcast_to(np.arange(start, stop, dtype=np.int32), found.shape)
        best, which = keep_largest(np.hstack([best, found]), np.hstack([which, number]), k)
    return Graph(
        starts=starts_of(np.full(len(references), best.shape[1])),
        targets=which.ravel(),
        weights=best.ravel(),
        n_targets=similarity.n_candidates,
    )


def keep_largest(
    values: npt.NDArray[np.float32], numbers: npt.NDArray[np.int32], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The k largest values of each row with their numbers, in the order of columns; equal values: leftmost first.

    Args:
        values, numbers: (b, w).
        k: 0 or more; fewer columns are kept whole.
    """
    b, w = values.shape
    if w <= k or not k:
        return values[:, :k], numbers[:, :k]
    cut = np.partition(values, w - k, axis=1)[:, w - k, None]
    above = values > cut
    equal = values == cut
    room = k - above.sum(axis=1, keepdims=True)
    keep = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return values[keep].reshape(b, k), numbers[keep].reshape(b, k)
