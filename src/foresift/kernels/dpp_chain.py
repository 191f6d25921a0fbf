"""An up-down Markov chain whose stationary law is a k-DPP: for kernels that have no features.

One step adds a uniform row j and then removes one of the k + 1 rows, each with its exact
conditional probability (heat bath). The inverse of L_S gives all k + 1 of them from one product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import NonFiniteError
from foresift.kernels.dpp_features import Array
from foresift.kernels.dpp_map import ReadEntries

REFACTOR_STEPS = 1000
"""Moves after which the inverse is computed anew: rounding errors of rank-one updates add up."""
TRACED = 100
"""Points of the log det trace."""


class ChainEnd(NamedTuple):
    """Where a chain ended, and what speaks for its having mixed."""

    rows: Rows
    """(k,) the last state, in no order."""
    acceptance: float
    """Share of steps that exchanged a row."""
    log_det: Array
    """(<= 100,) log det(L_S) at equal intervals, the start first."""


def up_down_chain(entries: ReadEntries, start: Rows, *, n: int, steps: int, rng: np.random.Generator) -> ChainEnd:
    """The state after ``steps`` exchanges of the up-down walk, whose stationary law is P(S) prop. to det(L_S).

    With A = L_S^-1, r = A L_Sj and s = L_jj - L_jS r, removing i from S + j has the probability
    prop. to det(L_S+j-i) / det(L_S) = A_ii s + r_i^2, and removing j again prop. to 1.
    O(steps (k^2 + k d)) time, O(k^2) memory.

    Args:
        start: (k,) distinct rows with det(L_S) > 0, such as those of greedy maximisation; k < n.
        n: number of rows.
    Raises:
        NonFiniteError: L_S has lost its rank.
    Source: Anari, Gharan and Rezaei 2016 (the exchange walk); heat-bath removal by the inverse.
    """
    state = _State(entries, start, n)
    every, trace, moves = max(1, steps // TRACED), [state.log_det], 0
    for step in range(1, steps + 1):
        moves += state.step(rng)
        if step % every == 0:
            trace.append(state.log_det)
    return ChainEnd(state.rows, moves / max(1, steps), np.array(trace))


class _State:
    """The rows of S, the inverse of L_S, and its log determinant."""

    def __init__(self, entries: ReadEntries, start: Rows, n: int) -> None:
        self._entries = entries
        self.rows = np.array(start, dtype=np.intp)
        self._inside = np.zeros(n, dtype=np.bool_)
        self._inside[self.rows] = True
        self._refactor()

    def step(self, rng: np.random.Generator) -> bool:
        """One exchange; whether S changed."""
        added = self._outsider(rng)
        column = self._entries(np.array([added]), self.rows)[0]
        corner = float(self._entries(np.array([added]), np.array([added]))[0, 0])
        solved = self._inverse @ column
        ratios = np.diag(self._inverse) * max(corner - column @ solved, 0.0) + solved**2
        total = np.cumsum(np.append(ratios, 1.0))
        removed = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        if removed >= len(self.rows):
            return False
        self.log_det += float(np.log(ratios[removed]))
        self._exchange(removed, added, column, corner)
        return True

    def _outsider(self, rng: np.random.Generator) -> int:
        """A uniform row outside of S."""
        while self._inside[row := int(rng.integers(len(self._inside)))]:
            pass
        return row

    def _exchange(self, at: int, added: int, column: Array, corner: float) -> None:
        """Take the row at position ``at`` out of the inverse and put another there: two rank-one steps."""
        self._inside[self.rows[at]], self._inside[added] = False, True
        self.rows[at] = added
        self._moves += 1
        if self._moves >= REFACTOR_STEPS:
            self._refactor()
            return
        inverse = self._inverse
        out = inverse[:, at].copy()
        inverse -= np.outer(out / out[at], out)
        inverse[at], inverse[:, at] = 0.0, 0.0
        solved = inverse @ column
        rest = corner - np.delete(column, at) @ np.delete(solved, at)
        solved[at] = -1.0
        inverse += np.outer(solved / rest, solved)

    def _refactor(self) -> None:
        matrix = self._entries(self.rows, self.rows)
        sign, log_det = np.linalg.slogdet(matrix)
        if not (sign > 0 and np.isfinite(log_det)):
            raise NonFiniteError("the kernel of the chain's rows is singular; start from rows of positive determinant")
        self.log_det, self._inverse, self._moves = float(log_det), np.linalg.inv(matrix), 0
