"""Greedy maximisation of a monotone submodular objective: lazily, or among random candidates.

Greedy reaches 1 - 1/e of the optimum for k picks (Nemhauser et al. 1978).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.kernels.topk import top_k

TIE = 1e-6
"""Gains that differ by less than this share of the best are equal: float32 sums cannot tell them apart."""
CANDIDATES = 512
"""Candidates whose gains are asked for at once, at most."""


class Objective(ABC):
    """A monotone submodular function of the picks so far: what a candidate adds never grows."""

    @property
    @abstractmethod
    def n_candidates(self) -> int:
        """n."""

    @abstractmethod
    def gains(self, rows: Rows) -> Values:
        """(b,) float64, 0 or more: how much each of b candidates would add now; b <= ``CANDIDATES``."""

    @abstractmethod
    def add(self, row: int) -> None:
        """Pick a candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy:
    """What a greedy run picked."""

    rows: Rows
    """(k,) in the order of picking."""
    gains: Values
    """(k,) what each added."""


class LazyGreedy:
    """The picks of plain greedy one by one, of which few gains are computed again.

    A gain never grows, so a stale one is an upper bound; only candidates whose bound may still
    win are refreshed, in blocks. Equal gains (within ``TIE``) go to the lower row.

    Cost: n gains at first, then those that are refreshed; O(n) for each pick beside them.
    Source: Minoux 1978; identical to naive greedy.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.bounds = gains_of(objective, np.arange(objective.n_candidates))
        """(n,) at least the gain of each candidate, and at first just that; -1 once picked."""
        self._fresh = np.ones(len(self.bounds), dtype=np.bool_)

    def best(self) -> tuple[int, float]:
        """The candidate that adds most now, and how much; not picked yet. At least one must be left."""
        size = 8
        while True:
            known = np.where(self._fresh, self.bounds, -1)
            best, row = float(known.max()), first_largest(known)
            may_win = self.bounds > best
            may_win[:row] |= self.bounds[:row] >= (1 - TIE) * best
            stale = np.flatnonzero(may_win & ~self._fresh)
            if not len(stale):
                return row, float(self.bounds[row])
            rows = np.sort(stale[top_k(self.bounds[stale], min(size, len(stale)))])
            self.bounds[rows] = self._objective.gains(rows)
            self._fresh[rows] = True
            size = min(2 * size, CANDIDATES)

    def add(self, row: int) -> None:
        """Pick a candidate."""
        self._objective.add(row)
        self.bounds[row] = -1
        self._fresh = self.bounds <= 0  # a gain of 0 stays 0


def gains_of(objective: Objective, rows: Rows) -> Values:
    """(m,) gains of any number of candidates, asked for in blocks."""
    blocks = [objective.gains(rows[at : at + CANDIDATES]) for at in range(0, len(rows), CANDIDATES)]
    return np.concatenate(blocks)


def first_largest(gains: Values) -> int:
    """The lowest row among the largest gains, those within ``TIE`` of the largest included."""
    best = gains.max()
    return int(np.argmax(gains >= best - TIE * abs(best)))


def lazy_greedy(objective: Objective, k: int) -> Greedy:
    """The k picks of plain greedy, by :class:`LazyGreedy`; k within 0 .. n."""
    lazy = LazyGreedy(objective)
    rows, gains = np.empty(k, dtype=np.intp), np.empty(k)
    for step in range(k):
        rows[step], gains[step] = lazy.best()
        lazy.add(int(rows[step]))
    return Greedy(rows=rows, gains=gains)


def stochastic_greedy(objective: Objective, k: int, *, sample: int, rng: np.random.Generator) -> Greedy:
    """Greedy that looks at ``sample`` random candidates for each pick.

    In expectation at least 1 - 1/e - eps of the optimum for k picks, eps = exp(-sample k / n)
    (:func:`stochastic_loss`). What is drawn does not depend on k: a larger k extends a smaller one.

    Cost: k sample gains, whatever the data; O(n) for each pick beside them.
    Source: Mirzasoleiman et al. 2015, algorithm 1, with the size of the sample given and eps derived.
    """
    left = np.arange(objective.n_candidates)
    rows, gains = np.empty(k, dtype=np.intp), np.empty(k)
    for step in range(k):
        drawn = left if sample >= len(left) else np.sort(rng.choice(left, sample, replace=False, shuffle=False))
        found = gains_of(objective, drawn)
        best = first_largest(found)
        rows[step], gains[step] = drawn[best], found[best]
        objective.add(int(drawn[best]))
        left = left[left != drawn[best]]
    return Greedy(rows=rows, gains=gains)


def stochastic_loss(n: int, k: int, *, sample: int) -> float:
    """eps of :func:`stochastic_greedy`, 0 when every candidate is looked at."""
    return 0.0 if sample >= n else float(np.exp(-sample * k / n))
