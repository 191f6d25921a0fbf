"""ActiveFT: a subset that lies like the pool and keeps its distance within, for fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.active_ft import BATCH, learned_centroids, mean_nearest_cosine
from foresift.kernels.distances import nearest
from foresift.kernels.kmeans import Clusters, kmeans_plus_plus, nearest_unused
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy
from foresift.strategies.unit_clusters import unit_matrix


@strategy
@dataclass(frozen=True, kw_only=True)
class ActiveFT(Strategy):
    """The candidates nearest to k centroids that are pulled to the pool and pushed apart, by direction.

    Centroids start at a k-means++ draw. Should the pool be nearer (in mean cosine to the nearest pick) to that
    draw than to the candidates at the end, the draw is kept, and ``details`` says so. Labels take no part.

    Args:
        steps: steps of the optimiser, 0 or more.
        rate: its learning rate, above 0.
        temperature: of the similarities, above 0.
    Cost: O(steps min(n, 4096) k d) and four passes of O(n k d) time; O(n d) memory, one copy of rows of length 1.
    Source: Xie et al. 2023, algorithm 1: 300 steps of Adam, rate 0.001, temperature 0.07. The start by k-means++
        instead of a uniform draw, batches of rows in large pools and the comparison with the start are ours.
    """

    name: ClassVar[str] = "active-ft"
    aliases: ClassVar[tuple[str, ...]] = ("ActiveFT",)
    cite: ClassVar[str] = "Xie et al. 2023"
    cost: ClassVar[str] = "O(n k d) a pass and O(steps min(n, 4096) k d) time, O(n d) memory"
    when: ClassVar[str] = "one batch without labels, to fine-tune a large pre-trained model on"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    steps: int = 300
    rate: float = 0.001
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"steps must be 0 or more, got {self.steps}")
        for name in ("rate", "temperature"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(f"{name} must be a number above 0, got {getattr(self, name)}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """One candidate a centroid, from the centroid with most candidates down; no scores."""
        if query.budget == len(query):
            return Picks(rows=np.arange(len(query)), solver="all")
        units = unit_matrix(query.matrix("embeddings"))
        start = kmeans_plus_plus(units, query.budget, rng)
        learned = self._learned(units, start, rng)
        before, after = mean_nearest_cosine(units, start), mean_nearest_cosine(units, learned)
        details = {"start_kept": before > after, "mean_nearest_cosine": max(before, after)}
        approx = f"each step sees {BATCH} of {len(units)} rows" if len(units) > BATCH else ""
        rows = start if before > after else learned
        return Picks(rows=rows, solver="adam", approx=approx, details=details)

    def _learned(self, units: RowMatrix, start: Rows, rng: np.random.Generator) -> Rows:
        """The distinct candidates nearest to the centroids, after the last step."""
        centres = learned_centroids(units, start, rng, steps=self.steps, rate=self.rate, temperature=self.temperature)
        distances, assignment = nearest(units, centres)
        inertia = float(distances.sum(dtype=np.float64))
        clusters = Clusters(centres=centres, assignment=assignment, inertia=inertia, solver="adam", approx="")
        return nearest_unused(units, clusters)
