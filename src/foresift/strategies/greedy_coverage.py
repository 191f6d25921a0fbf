"""What facility location and MaxHerding share: greedy coverage of the pool by similar picks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.coverage import Coverage
from foresift.kernels.greedy import Greedy, Objective, lazy_greedy, stochastic_greedy, stochastic_loss
from foresift.kernels.similarities import ComputedSimilarity, Kernel, Prepared, strongest
from foresift.kernels.uncovered import UncoveredPairs
from foresift.selection.base import Strategy

EXACT_ROWS = 100_000
"""Up to so many candidates, coverage is measured on all of them unless the user says otherwise."""
SAMPLED_ROWS = 20_000
"""On so many, drawn at random, where there are more."""


@dataclass(frozen=True, kw_only=True)
class GreedyCoverage(Strategy):
    """Maximises ``sum over z of max over picks and labeled x of s(x, z)`` greedily; a subclass gives s.

    Args:
        references: candidates z, drawn at random, on which coverage is measured; 0 = all up to
            100,000 candidates, else 20,000.
        neighbours: keep only so many of the largest similarities of each z; 0 = all.
        sample: random candidates that are looked at for each pick; 0 = all that may win.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    prefix: ClassVar[bool] = True
    references: int = 0
    neighbours: int = 0
    sample: int = 0

    def __post_init__(self) -> None:
        for name in ("references", "neighbours", "sample"):
            if getattr(self, name) < 0:
                raise UsageError(f"{self.name}: {name} must be 0 or more, got {getattr(self, name)}")

    @abstractmethod
    def kernel(self, query: Query) -> Kernel:
        """The similarity of two rows."""

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The candidates that add most to the coverage, each given those before it."""
        rows = reference_rows(len(query), self.references, rng)
        computed, covered = self._similarity(query, rows)
        before = float(covered.mean(dtype=np.float64))
        objective, missed = self._objective(computed, covered)
        found = self._greedy(objective, query.budget, rng)
        return Picks(
            rows=found.rows,
            scores=found.gains / len(covered),
            solver="stochastic greedy" if self.sample else "lazy greedy",
            approx=self._approx(query, len(rows), missed),
            details={"coverage_before": before, "coverage": float(covered.mean(dtype=np.float64))},
        )

    def _similarity(self, query: Query, rows: Rows) -> tuple[ComputedSimilarity, npt.NDArray[np.float32]]:
        """Similarities to the references, and their coverage by what is labeled."""
        kernel = self.kernel(query)
        candidates = Prepared.of(query.matrix("embeddings"), kernel)
        references = candidates if len(rows) == len(query) else candidates.subset(rows)
        similarity = ComputedSimilarity(candidates=candidates, references=references)
        covered = np.zeros(len(rows), dtype=np.float32)
        if query.labeled_columns:
            labeled = Prepared(kernel=kernel, matrix=query.labeled_matrix("embeddings"), ready=False)
            similarity.cover_by(labeled, covered)
        return similarity, covered

    def _objective(self, similarity: ComputedSimilarity, covered: npt.NDArray[np.float32]) -> tuple[Objective, float]:
        """The coverage by the similarities that count, and how much of its mean the others may hold."""
        if self.neighbours:
            stored = strongest(similarity, self.neighbours)
            return Coverage(stored, covered), stored.missed
        return (Coverage if self.sample else UncoveredPairs)(similarity, covered), 0.0

    def _greedy(self, objective: Objective, k: int, rng: np.random.Generator) -> Greedy:
        if self.sample:
            return stochastic_greedy(objective, k, sample=self.sample, rng=rng)
        return lazy_greedy(objective, k)

    def _approx(self, query: Query, n_references: int, missed: float) -> str:
        n, k = len(query), query.budget
        parts = [sampled_references(n, k, n_references)] if n_references < n else []
        if 0 < self.neighbours < n:
            parts.append(
                f"similarities beyond the {self.neighbours} largest of each reference count as 0: "
                f"at most {missed:.3g} of the coverage is not seen"
            )
        if 0 < self.sample < n:
            loss = stochastic_loss(n, k, sample=self.sample)
            parts.append(f"stochastic greedy: at least 1 - 1/e - {loss:.3g} of the optimal gain in expectation")
        return "; ".join(parts)


def reference_rows(n: int, wanted: int, rng: np.random.Generator) -> Rows:
    """Rows on which coverage is measured, ascending: all, or so many drawn at random."""
    size = wanted or (n if n <= EXACT_ROWS else SAMPLED_ROWS)
    return np.arange(n) if size >= n else np.sort(rng.choice(n, size, replace=False))


def sampled_references(n: int, k: int, size: int) -> str:
    """What coverage on ``size`` of n rows guarantees: Hoeffding's bound over all sets of k picks."""
    error = np.sqrt((k * np.log(n) + np.log(2 / 0.01)) / (2 * size))
    return (
        f"coverage is measured on {size} of {n} candidates drawn at random: "
        f"with probability 0.99 within {min(error, 1):.3g} of the whole for every choice of {k}"
    )
