"""Generalised coverage with a Gaussian kernel: typical samples first, without a radius to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.queries import Query
from foresift.kernels.similarities import Gaussian, Kernel
from foresift.selection.registry import strategy
from foresift.strategies.greedy_coverage import GreedyCoverage

SCALE_ROWS = 1000
"""Rows, evenly spaced in order of id, from which centre and median distance are taken."""


@strategy
@dataclass(frozen=True, kw_only=True)
class MaxHerding(GreedyCoverage):
    """MaxHerding: greedy generalised coverage with a Gaussian kernel, exp(-(distance / (bandwidth median))^2).

    The median is that of the distances between candidates, so that scaling all embeddings changes
    nothing. Labeled samples cover first. Scores are what each pick adds to the mean over candidates of
    the kernel with the nearest pick. Unlike `prob-cover` it hardly depends on its one parameter.

    Args:
        bandwidth: width of the kernel in median distances. 0.7 is the paper's width of 1 for
            embeddings of length one, whose median distance is near the root of 2.
        references: candidates on which coverage is measured; 0 = all up to 100,000, else 20,000.
        neighbours: largest kernel values kept of each; 0 = all.
        sample: random candidates looked at for each pick; 0 = all that may win.
    Cost: O(n^2 d) once, twice where nothing is labeled; 4 n d bytes, and up to 1 GiB for the similarities
        that can still matter. While there are more of these, O(n d) for each gain that is computed again.
    Source: Bae et al. 2024, algorithm 1. Lazy greedy gives the same picks; the median is taken over at
        most 1,000 candidates.
    """

    name: ClassVar[str] = "max-herding"
    cite: ClassVar[str] = "Bae et al. 2024"
    cost: ClassVar[str] = "O(n^2 d) time, O(n d) memory; beyond 100,000 candidates O(20,000 n d)"
    when: ClassVar[str] = "the first labels of a pool, and any budget where coverage matters more than uncertainty"
    bandwidth: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.bandwidth < np.inf:
            raise UsageError(f"{self.name}: bandwidth must be above 0 and finite, got {self.bandwidth}")

    def kernel(self, query: Query) -> Kernel:
        """The Gaussian kernel at the scale of the candidates."""
        matrix = query.matrix("embeddings")
        step = -(-len(matrix) // SCALE_ROWS)
        rows = matrix.take(np.arange(0, len(matrix), step)).astype(np.float64)
        centre = rows.mean(axis=0)
        scale = self.bandwidth * median_distance(rows - centre)
        return Gaussian(centre=centre.astype(np.float32), scale=scale)


def median_distance(rows: Values) -> float:
    """Median of the distances above 0 between (n, d) rows; 1 where all are equal."""
    lengths = (rows * rows).sum(axis=1)
    squares = (lengths[:, None] + lengths - 2 * rows @ rows.T)[np.triu_indices(len(rows), k=1)]
    apart = squares[squares > 1e-12 * lengths.max(initial=0)]
    return float(np.sqrt(np.median(apart))) if len(apart) else 1.0
