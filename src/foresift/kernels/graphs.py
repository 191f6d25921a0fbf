"""Sparse directed graphs by rows: who is joined to whom, and how strongly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """m edges from n rows to ``n_targets`` others, in compressed rows: O(n + m) memory."""

    starts: npt.NDArray[np.int64]
    """(n + 1,) the edges of row i are ``starts[i] .. starts[i + 1]``."""
    targets: npt.NDArray[np.int32]
    """(m,) ascending within a row."""
    weights: npt.NDArray[np.float32]
    """(m,) a squared distance or a similarity; empty where edges carry no number."""
    n_targets: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def degrees(self) -> npt.NDArray[np.int64]:
        """(n,) edges of each row."""
        return np.diff(self.starts)

    def targets_of(self, row: int) -> npt.NDArray[np.int32]:
        """Where the edges of one row lead; a view."""
        return self.targets[self.starts[row] : self.starts[row + 1]]

    def edges_of(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        """Positions of all edges of the given rows, row by row; O(edges)."""
        first = self.starts[rows]
        counts = self.starts[rows + 1] - first
        ends = np.cumsum(counts)
        shift = np.repeat(first - (ends - counts), counts)
        return shift + np.arange(len(shift))

    def where(self, keep: npt.NDArray[np.bool_]) -> Graph:
        """Only the edges at which an (m,) mask is true."""
        kept = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
        return Graph(
            starts=kept[self.starts],
            targets=self.targets[keep],
            weights=self.weights[keep] if len(self.weights) else self.weights,
            n_targets=self.n_targets,
        )

    def sources(self) -> npt.NDArray[np.int32]:
        """(m,) the row that each edge leaves."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.degrees)

    def transposed(self) -> Graph:
        """The same edges seen from their targets; O(n + m log m)."""
        order = np.argsort(self.targets, kind="stable")
        return Graph(
            starts=starts_of(np.bincount(self.targets, minlength=self.n_targets)),
            targets=self.sources()[order],
            weights=self.weights[order] if len(self.weights) else self.weights,
            n_targets=len(self),
        )


def starts_of(degrees: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """(n + 1,) where the edges of each row begin, from the (n,) number of edges of each."""
    starts = np.zeros(len(degrees) + 1, dtype=np.int64)
    np.cumsum(degrees, out=starts[1:])
    return starts


def edges_where(mask: npt.NDArray[np.bool_], weights: npt.NDArray[np.floating[Any]] | None = None) -> Graph:
    """The edges at which an (n, w) mask is true, with the weights that lie there; a block of rows."""
    # np.nonzero of two axes takes seven times as long
    rows, targets = np.divmod(np.flatnonzero(mask), max(1, mask.shape[1]))
    return Graph(
        starts=starts_of(np.bincount(rows, minlength=len(mask))),
        targets=targets.astype(np.int32),
        weights=np.empty(0, dtype=np.float32) if weights is None else weights[rows, targets].astype(np.float32),
        n_targets=mask.shape[1],
    )


def joined(parts: Iterable[Graph]) -> Graph:
    """The rows of several graphs over the same targets, one below the other.

    Args:
        parts: at least one.
    """
    graphs = list(parts)
    return Graph(
        starts=starts_of(np.concatenate([part.degrees for part in graphs])),
        targets=np.concatenate([part.targets for part in graphs]),
        weights=np.concatenate([part.weights for part in graphs]),
        n_targets=graphs[0].n_targets,
    )


def beside(parts: Iterable[Graph]) -> Graph:
    """The same rows over the targets of several graphs, one after the other.

    Args:
        parts: at least one, all with as many rows, all with weights or all without.
    """
    graphs = list(parts)
    whole = starts_of(np.sum([part.degrees for part in graphs], axis=0))
    targets = np.empty(whole[-1], dtype=np.int32)
    weights = np.empty(sum(len(part.weights) for part in graphs), dtype=np.float32)
    next_edge, width = whole[:-1].copy(), 0
    for part in graphs:
        at = np.repeat(next_edge - part.starts[:-1], part.degrees) + np.arange(len(part.targets))
        targets[at] = part.targets + np.int32(width)
        weights[at if len(part.weights) else slice(0)] = part.weights
        next_edge += part.degrees
        width += part.n_targets
    return Graph(starts=whole, targets=targets, weights=weights, n_targets=width)
