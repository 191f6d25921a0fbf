"""ALFA-Mix: candidates whose prediction changes when a little of a labeled class is mixed in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.blocks import row_blocks
from foresift.kernels.distances import squared_distances
from foresift.kernels.linear_head import flip_distances, linear_head
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy
from foresift.strategies.unit_clusters import one_of_each

Floats = npt.NDArray[np.float32]


@strategy
@dataclass(frozen=True, kw_only=True)
class AlfaMix(Strategy):
    """Candidates that a step towards a class mean would predict anew, then one of each of k clusters by direction.

    The anchors are the mean embeddings of the labeled samples of each class that has any. Mixing in an anchor
    z* moves an embedding z by eps |z* - z| / sqrt(d) along the gradient of the loss of its own prediction: the
    authors' mixing weights, whose division by z* - z cancels. With a linear last layer the prediction changes
    beyond one distance, which is found in closed form; so the farthest anchor decides. Where fewer candidates
    than picks change, all of them are taken and the rest is drawn at random. Without a labeled sample that has
    an embedding there are no anchors: every candidate passes, which leaves k-means by direction.

    Args:
        eps: reach of the mixing, above 0; divided by sqrt(d).
    Cost: O(n c d) and k-means of the candidates that pass; O(n + block) memory and a float32 copy of those.
    Source: Parvaneh et al. 2022, eq. 3 to 6, in closed form for a linear last layer.
    """

    name: ClassVar[str] = "alfa-mix"
    aliases: ClassVar[tuple[str, ...]] = ("ALFA-Mix",)
    cite: ClassVar[str] = "Parvaneh et al. 2022"
    cost: ClassVar[str] = "O(n c d) and k-means, O(n d) memory"
    when: ClassVar[str] = "few labels a class, and embeddings just before the last linear layer"
    needs: ClassVar[tuple[str, ...]] = ("logits", "embeddings", "labels")

    eps: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.eps < np.inf:
            raise UsageError(f"eps must be a number above 0, got {self.eps}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """One candidate of each cluster of those that change, from the largest cluster down; no scores."""
        embeddings, anchors = query.matrix("embeddings"), class_means(query)
        if not len(anchors):
            return one_of_each(embeddings, np.arange(len(query)), query.budget, rng, {"cold_start": True})
        changing, doubt = self.changing(query, anchors)
        picks = one_of_each(embeddings, changing, query.budget, rng, {"anchors": len(anchors)})
        return replace(picks, approx="; ".join(filter(None, [doubt, picks.approx])))

    def changing(self, query: Query, anchors: Floats) -> tuple[Rows, str]:
        """Candidates whose prediction changes, in order of row; and what is in doubt about the last layer."""
        embeddings, logits = query.matrix("embeddings"), query.matrix("logits")
        head = linear_head(embeddings, logits)
        change = np.empty(len(query), dtype=np.bool_)
        for start, stop, rows in embeddings.blocks():
            reach = self.eps / np.sqrt(embeddings.width) * _farthest(rows, anchors)
            change[start:stop] = flip_distances(logits.block(start, stop), head) < reach
        return np.flatnonzero(change), head.doubt


def class_means(query: Query) -> Floats:
    """(c', d) the mean embedding of the labeled samples of each class that has any, in order of class code."""
    labeled: RowMatrix = query.labeled_matrix("embeddings")
    codes = np.empty(0, dtype=np.int64) if query.labels is None else query.labels[query.labeled_rows]
    classes, place = np.unique(codes, return_inverse=True)
    sums = np.zeros((len(classes), labeled.width))
    for start, stop, rows in labeled.blocks():
        np.add.at(sums, place[start:stop], rows)
    known = classes >= 0  # a code below 0 stands for no class
    return np.asarray(sums[known] / np.bincount(place, minlength=len(classes))[known, None], dtype=np.float32)


def _farthest(rows: Floats, anchors: Floats) -> Floats:
    """(b,) distance of every row to the farthest anchor."""
    farthest, origin = np.empty(len(rows), dtype=np.float32), anchors.mean(axis=0)
    for low, high in row_blocks(len(rows), width=len(anchors)):
        farthest[low:high] = squared_distances(rows[low:high] - origin, anchors - origin).max(axis=1)
    return np.asarray(np.sqrt(farthest))
