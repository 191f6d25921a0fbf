"""Greedy maximisation of coverage: exact, lazy, on a sparse graph, or among random candidates.

Coverage of r references by a set S is ``sum over z of max over x in S of s(x, z)`` with similarities
s >= 0: maximum coverage when s is 0 or 1, facility location for any s. It is monotone and submodular,
so greedy reaches 1 - 1/e of the optimum (Nemhauser et al. 1978).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.kernels.graphs import Graph
from foresift.kernels.topk import top_k

TIE = 1e-6
"""Gains that differ by less than this share of the best are equal: float32 sums cannot tell them apart."""
SLACK = 1e-5
"""A reference gains from a similarity that exceeds its coverage by more than this; less is rounding."""
REFERENCES = 8192
"""References in a block."""
CANDIDATES = 512
"""Candidates in a block: with ``REFERENCES`` 16 MiB of similarities."""


class Similarity(ABC):
    """Similarities s >= 0 between n candidates and r references, computed in blocks and never held whole."""

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
        """(b,) float64: how much each of b candidates would add to the (r,) coverage."""

    @abstractmethod
    def cover(self, row: int, covered: npt.NDArray[np.float32]) -> None:
        """Raise the (r,) coverage, in place, by one candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covering:
    """What a greedy run picked."""

    rows: Rows
    """(k,) in the order of picking."""
    gains: Values
    """(k,) coverage that each added."""


def all_gains(similarity: Similarity, covered: npt.NDArray[np.float32]) -> Values:
    """(n,) gain of every candidate; the cost of all n r similarities."""
    n = similarity.n_candidates
    blocks = [np.arange(start, min(start + CANDIDATES, n)) for start in range(0, n, CANDIDATES)]
    return np.concatenate([similarity.gains(rows, covered) for rows in blocks])


def lazy_greedy(similarity: Similarity, k: int, covered: npt.NDArray[np.float32]) -> Covering:
    """The k picks of plain greedy, of which few gains are computed again.

    A gain never grows, so a stale one is an upper bound; only candidates whose bound may still
    win are refreshed, in blocks. Equal gains (within ``TIE``) go to the lower row.

    Args:
        similarity: of n candidates to r references.
        k: within 0 .. n.
        covered: (r,) coverage by what is labeled already; raised in place.
    Cost: n r similarities once, and r for each refreshed gain; O(n + r) memory beside blocks.
    Source: Minoux 1978; identical to naive greedy.
    """
    bounds = all_gains(similarity, covered)
    fresh = np.ones(len(bounds), dtype=np.bool_)
    rows, gains = np.empty(k, dtype=np.intp), np.empty(k)
    for step in range(k):
        rows[step] = row = _best(similarity, covered, bounds, fresh)
        gains[step] = bounds[row]
        bounds[row] = -1
        similarity.cover(row, covered)
        fresh = bounds <= 0  # a gain of 0 stays 0
    return Covering(rows=rows, gains=gains)


def _best(
    similarity: Similarity,
    covered: npt.NDArray[np.float32],
    bounds: Values,
    fresh: npt.NDArray[np.bool_],
) -> int:
    """The candidate with the largest gain; refreshes ``bounds`` until none that is stale can win."""
    size = 8
    while True:
        known = np.where(fresh, bounds, -1)
        best = known.max()
        row = first_largest(known)
        may_win = bounds > best
        may_win[:row] |= bounds[:row] >= (1 - TIE) * best
        stale = np.flatnonzero(may_win & ~fresh)
        if not len(stale):
            return row
        rows = np.sort(stale[top_k(bounds[stale], min(size, len(stale)))])
        bounds[rows] = similarity.gains(rows, covered)
        fresh[rows] = True
        size = min(2 * size, CANDIDATES)


def first_largest(gains: Values) -> int:
    """The lowest row among the largest gains, those within ``TIE`` of the largest included."""
    best = gains.max()
    return int(np.argmax(gains >= best - TIE * abs(best)))


def stochastic_greedy(
    similarity: Similarity, k: int, covered: npt.NDArray[np.float32], *, sample: int, rng: np.random.Generator
) -> Covering:
    """Greedy that looks at ``sample`` random candidates for each pick.

    In expectation at least 1 - 1/e - eps of the optimum for k picks, eps = exp(-sample k / n)
    (:func:`stochastic_loss`). What is drawn does not depend on k: a larger k extends a smaller one.

    Cost: k sample r similarities, whatever the data; O(n + r) memory beside blocks.
    Source: Mirzasoleiman et al. 2015, algorithm 1, with the size of the sample given and eps derived.
    """
    left = np.arange(similarity.n_candidates)
    rows, gains = np.empty(k, dtype=np.intp), np.empty(k)
    for step in range(k):
        drawn = left if sample >= len(left) else np.sort(rng.choice(left, sample, replace=False, shuffle=False))
        found = np.concatenate(
            [similarity.gains(drawn[at : at + CANDIDATES], covered) for at in range(0, len(drawn), CANDIDATES)]
        )
        best = first_largest(found)
        rows[step], gains[step] = drawn[best], found[best]
        similarity.cover(int(drawn[best]), covered)
        left = left[left != drawn[best]]
    return Covering(rows=rows, gains=gains)


def stochastic_loss(n: int, k: int, *, sample: int) -> float:
    """eps of :func:`stochastic_greedy`, 0 when every candidate is looked at."""
    return 0.0 if sample >= n else float(np.exp(-sample * k / n))


def greedy_max_cover(graph: Graph, k: int, covered: npt.NDArray[np.bool_]) -> Covering:
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
    return Covering(rows=np.array(rows, dtype=np.intp), gains=np.array(gains, dtype=np.float64))
