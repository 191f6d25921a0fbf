"""Coverage by a small matrix of similarities, and greedy by its definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from foresift.core.arrays import Rows, Values
from foresift.kernels.coverage import SLACK, Similarity
from foresift.kernels.greedy import TIE


@dataclass
class Dense(Similarity):
    """A small matrix of similarities, float64; counts the gains that are asked for."""

    matrix: npt.NDArray[np.float64]
    asked: int = 0

    @property
    def n_candidates(self) -> int:
        return len(self.matrix)

    @property
    def n_references(self) -> int:
        return self.matrix.shape[1]

    def gains(self, rows: Rows, covered: npt.NDArray[np.float32]) -> Values:
        self.asked += len(rows)
        return np.maximum(self.matrix[rows] - covered - SLACK, 0).sum(axis=1)

    def cover(self, row: int, covered: npt.NDArray[np.float32]) -> None:
        np.maximum(covered, self.matrix[row], out=covered)


def naive_greedy(matrix: npt.NDArray[np.float64], k: int, covered: npt.NDArray[np.float64]) -> list[int]:
    """Every gain again for every pick; equal gains to the lower row."""
    covered, picks = covered.copy(), []
    for _ in range(k):
        gains = {
            row: sum(max(0.0, s - m - SLACK) for s, m in zip(matrix[row], covered, strict=True))
            for row in range(len(matrix))
            if row not in picks
        }
        best = max(gains.values())
        picks.append(min(row for row, gain in gains.items() if gain >= best * (1 - TIE)))
        covered = np.maximum(covered, matrix[picks[-1]])
    return picks


def coverage(matrix: npt.NDArray[np.float64], rows: Rows | tuple[int, ...]) -> float:
    return float(matrix[list(rows)].max(axis=0).sum())


matrices = st.builds(
    lambda n, r, seed, levels: np.random.default_rng(seed).integers(0, levels, (n, r)) / (levels - 1),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 2**32),
    st.sampled_from([2, 3, 1000]),
)
