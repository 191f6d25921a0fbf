"""Coverage of references by picks, as a submodular objective, and greedy cover of a sparse graph.

Coverage of r references by a set S is ``sum over z of max over x in S of s(x, z)`` with similarities
s >= 0: maximum coverage when s is 0 or 1, facility location for any s. It is monotone and submodular.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.kernels.graphs import Graph
from foresift.kernels.greedy import Greedy, Objective

SLACK = 1e-5
"""A reference gains from a similarity that exceeds its coverage by more than this; less is rounding."""


class Similarity(ABC):
    """Similarities s >= 0 between n candidates and r references, never all held at once."""

    @property
    @abstractmethod
    def n_candidates(self) -> int:
        """n."""

    @property
    @abstractmethod
    def n_references(self) -> int:
        """r."""

    @abstractmethod
    def gains(self, rows: Rows, covered: npt.NDArray[np.float32]) -> Values:
        """(b,) float64: what the similarities of b candidates exceed the (r,) coverage by, more than ``SLACK``."""

    @abstractmethod
    def cover(self, row: int, covered: npt.NDArray[np.float32]) -> None:
        """Raise the (r,) coverage, in place, by one candidate."""


class Coverage(Objective):
    """Sum over references of the largest similarity to a pick; O(r) memory.

    Args:
        similarity: of n candidates to r references.
        covered: (r,) coverage by what is labeled already; raised in place.
    """

    def __init__(self, similarity: Similarity, covered: npt.NDArray[np.float32]) -> None:
        self._similarity = similarity
        self._covered = covered

    @property
    def n_candidates(self) -> int:
        """n."""
        return self._similarity.n_candidates

    def gains(self, rows: Rows) -> Values:
        """(b,) what each of b candidates would add to the coverage."""
        return self._similarity.gains(rows, self._covered)

    def add(self, row: int) -> None:
        """Pick a candidate."""
        self._similarity.cover(row, self._covered)


def greedy_max_cover(graph: Graph, k: int, covered: npt.NDArray[np.bool_]) -> Greedy:
    """Up to k rows, each covering the most references that are not covered yet; ties to the lower row.

    Stops early when everything that can be covered is covered. Degrees are updated: a reference
    is covered once, and then each row that reaches it loses one.

    Args:
        graph: edges from n candidates to the r references that they cover.
        k: within 0 .. n.
        covered: (r,) what is covered already; updated in place.
    Cost: O(m + k n) time for m edges, and their transpose in memory.
    Source: Nemhauser et al. 1978; Yehuda et al. 2022, algorithm 1.
    """
    back = graph.transposed()
    degrees = np.bincount(graph.sources()[~covered[graph.targets]], minlength=len(graph))
    rows: list[int] = []
    gains: list[int] = []
    while len(rows) < k and degrees.max() > 0:
        row = int(degrees.argmax())
        rows.append(row)
        gains.append(int(degrees[row]))
        new = graph.targets_of(row)
        new = new[~covered[new]]
        covered[new] = True
        degrees -= np.bincount(back.targets[back.edges_of(new)], minlength=len(graph))
    return Greedy(rows=np.array(rows, dtype=np.intp), gains=np.array(gains, dtype=np.float64))
