"""DropQuery: candidates whose prediction does not survive dropout on their embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.linear_head import linear_head
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy
from foresift.strategies.unit_clusters import one_of_each

ENOUGH = 25
"""The threshold is lowered while fewer than so many candidates a pick pass."""


@strategy
@dataclass(frozen=True, kw_only=True)
class DropQuery(Strategy):
    """Candidates whose prediction changes in most passes with dropout, then one of each of k clusters by direction.

    A candidate passes when more than half of the passes predict another class than the model itself. While
    fewer than 25 candidates a pick do, one pass less is asked for, down to a single one. Where still fewer
    candidates than picks pass, all of them are taken and the rest is drawn at random.

    Args:
        passes: forward passes of the last layer, 1 or more.
        dropout: share of the embedding's numbers set to 0, within 0 .. 1; the others grow in proportion.
    Cost: O(passes n (c + 1) d) and k-means of the candidates that pass; O(n + block) memory and a float32
        copy of those.
    Source: Gupte et al. 2024, section 3: 3 passes with a dropout of 0.75. The head is the model's last layer,
        recovered from embeddings and logits, instead of one trained for the purpose.
    """

    name: ClassVar[str] = "drop-query"
    aliases: ClassVar[tuple[str, ...]] = ("DropQuery",)
    cite: ClassVar[str] = "Gupte et al. 2024"
    cost: ClassVar[str] = "O(passes n c d) and k-means, O(n d) memory"
    when: ClassVar[str] = "a linear head on embeddings of a large pre-trained model"
    needs: ClassVar[tuple[str, ...]] = ("logits", "embeddings")

    passes: int = 3
    dropout: float = 0.75

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise UsageError(f"passes must be 1 or more, got {self.passes}")
        if not 0 < self.dropout < 1:
            raise UsageError(f"dropout must be a share between 0 and 1, got {self.dropout}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """One candidate of each cluster of those that pass, from the largest cluster down; no scores."""
        changes, doubt = self.changes(query, rng)
        threshold = lowest_threshold(changes, self.passes, query.budget)
        let_through, details = np.flatnonzero(changes > threshold), {"more_changes_than": threshold}
        picks = one_of_each(query.matrix("embeddings"), let_through, query.budget, rng, details)
        return replace(picks, approx="; ".join(filter(None, [doubt, picks.approx])))

    def changes(self, query: Query, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], str]:
        """(n,) passes that predict another class; and what is in doubt about the last layer."""
        embeddings, logits = query.matrix("embeddings"), query.matrix("logits")
        head, keep = linear_head(embeddings, logits), np.float32(1 - self.dropout)
        changes = np.zeros(len(query), dtype=np.int64)
        for start, stop, rows in embeddings.blocks():
            predicted = logits.block(start, stop).argmax(axis=1)
            for _ in range(self.passes):
                kept = rng.random(rows.shape, dtype=np.float32) < keep
                changes[start:stop] += head(rows * kept / keep).argmax(axis=1) != predicted
        return changes, head.doubt


def lowest_threshold(changes: npt.NDArray[np.int64], passes: int, budget: int) -> int:
    """Half the passes, less one while not enough candidates change more often, and 0 at the least."""
    threshold = passes // 2
    while threshold > 0 and int((changes > threshold).sum()) < ENOUGH * budget:
        threshold -= 1
    return threshold
