"""Greedy coverage that soon needs no similarity computed again: those that can still matter are stored.

A candidate x gains from a reference z what the similarity s(x, z) exceeds the coverage of z by, and
coverage only grows: a pair with s(x, z) <= coverage never counts again. Few pairs are left once samples
are labeled or picked (1 % of all with 100 labeled samples of CIFAR-10), and they are all that gains,
and coverage itself, depend on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.kernels.coverage import Similarity
from foresift.kernels.graphs import Graph, beside, edges_where, joined
from foresift.kernels.greedy import CANDIDATES, Objective
from foresift.kernels.similarities import REFERENCES, Block, ComputedSimilarity, StoredSimilarity

MAX_EDGES = 1 << 26
"""Pairs that are stored: 512 MiB, and as much again while they are gathered."""
SAMPLE = 256
"""Candidates, evenly spaced, whose pairs say how many there are of all."""
MARGIN = 0.8
"""Pairs are gathered only where the sample says that so much of ``MAX_EDGES`` is enough."""
PATIENCE = 1 / 8
"""Pairs are counted again once gains have been computed again for this share of the candidates."""


class UncoveredPairs(Objective):
    """The objective of :class:`~foresift.kernels.coverage.Coverage`, with pairs stored once they fit.

    Until then gains are computed; the picks are the same whenever storing begins.

    Args:
        similarity: of n candidates to r references.
        covered: (r,) coverage by what is labeled already; raised in place.
    Cost: all n r similarities once (twice where nothing is labeled), beside those of gains before pairs
        are stored; then O(pairs) for each gain. Memory: 8 bytes for each of at most ``MAX_EDGES`` pairs,
        twice while they are gathered.
    """

    def __init__(self, similarity: ComputedSimilarity, covered: npt.NDArray[np.float32]) -> None:
        self._covered = covered
        self._now: _Computed | _Stored = _Computed(similarity)
        self._now = self._now.thinned(covered)

    @property
    def n_candidates(self) -> int:
        """n."""
        return self._now.similarity.n_candidates

    def gains(self, rows: Rows) -> Values:
        """(b,) what each of b candidates would add to the coverage."""
        if self._now.is_due:
            self._now = self._now.thinned(self._covered)
        return self._now.gains(rows, self._covered)

    def add(self, row: int) -> None:
        """Pick a candidate."""
        self._now.similarity.cover(row, self._covered)


class _Computed:
    """Similarities computed whenever they are needed."""

    def __init__(self, similarity: ComputedSimilarity) -> None:
        self.similarity: ComputedSimilarity = similarity
        self._again = -similarity.n_candidates  # the first gain of each is needed in any case

    @property
    def is_due(self) -> bool:
        """Whether so many gains were computed again that storing would have paid."""
        return self._again >= PATIENCE * self.similarity.n_candidates

    def gains(self, rows: Rows, covered: npt.NDArray[np.float32]) -> Values:
        """(b,) gains."""
        self._again += len(rows)
        return self.similarity.gains(rows, covered)

    def thinned(self, covered: npt.NDArray[np.float32]) -> _Computed | _Stored:
        """The pairs that can still matter, stored where they fit."""
        self._again = min(self._again, 0)
        if uncovered_pairs_estimate(self.similarity, covered) > MARGIN * MAX_EDGES:
            return self
        self._again = -self.similarity.n_candidates  # should the sample mislead, that pass is to pay off first
        graph = uncovered_pairs(self.similarity, covered, max_edges=MAX_EDGES)
        return self if graph is None else _Stored(graph)


class _Stored:
    """Pairs that mattered when they were stored."""

    def __init__(self, graph: Graph) -> None:
        self.similarity: Similarity = StoredSimilarity(graph=graph, missed=0.0)
        self._graph = graph
        self._read = -len(graph.targets)

    @property
    def is_due(self) -> bool:
        """Whether so many pairs were read that it pays to look which still matter."""
        return self._read > len(self._graph.targets)

    def gains(self, rows: Rows, covered: npt.NDArray[np.float32]) -> Values:
        """(b,) gains."""
        self._read += int((self._graph.starts[rows + 1] - self._graph.starts[rows]).sum())
        return self.similarity.gains(rows, covered)

    def thinned(self, covered: npt.NDArray[np.float32]) -> _Stored:
        """Without the pairs that are covered by now."""
        return _Stored(self._graph.where(self._graph.weights > covered[self._graph.targets]))


def uncovered_pairs(
    similarity: ComputedSimilarity, covered: npt.NDArray[np.float32], *, max_edges: int
) -> Graph | None:
    """Edges from candidates to references of smaller coverage, weighted by similarity; None if above ``max_edges``.

    Args:
        covered: (r,) coverage of the references.
    Cost: all n r similarities once.
    """
    parts, edges = list[Graph](), 0
    for _, _, features in similarity.candidates.blocks(CANDIDATES):
        parts.append(_uncovered_by(similarity, features, covered))
        edges += len(parts[-1].targets)
        if edges > max_edges:
            return None
    return joined(parts)


def uncovered_pairs_estimate(similarity: ComputedSimilarity, covered: npt.NDArray[np.float32]) -> float:
    """About how many edges :func:`uncovered_pairs` would give, from the similarities of ``SAMPLE`` candidates."""
    n = similarity.n_candidates
    some = np.arange(0, n, -(-n // SAMPLE))
    found = _uncovered_by(similarity, similarity.candidates.take(some), covered)
    return len(found.targets) * n / len(some)


def _uncovered_by(similarity: ComputedSimilarity, features: Block, covered: npt.NDArray[np.float32]) -> Graph:
    """Edges from a block of candidates."""
    blocks = []
    for start, stop, others in similarity.references.blocks(REFERENCES):
        found = similarity.candidates.kernel(features, others)
        blocks.append(edges_where(found > covered[start:stop], found))
    return beside(blocks)
