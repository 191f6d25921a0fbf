"""The batch whose labels, taken together, say most about which member of an ensemble is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.greedy import Greedy, LazyGreedy, gains_of
from foresift.kernels.joint_information import JointInformation
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class BatchBald(Strategy):
    """BatchBALD: greedy mutual information between the labels of the batch and the ensemble's members.

    Unlike the top of BALD it does not pay twice for what two samples tell alike. The first pick is the
    one with the largest BALD; scores are what each pick adds, in nats. A batch tells log(e) nats of e
    members and no more: once no candidate adds what can be told from nothing, the rest goes in order of
    BALD, with scores of 0, and the receipt says from which pick on.

    Args:
        samples: configurations of the batch's labels that are kept. c^k configurations are exact while
            they are no more than these; beyond, gains are estimated from so many.
        keep: only so many candidates with the largest BALD compete; 0 = all.
    Cost: O(n e c) at first, then O(samples e c) for each refreshed gain; O(samples (e + c)) memory.
    Source: Kirsch et al. 2019, algorithm 1, by lazy evaluation. Configurations are drawn again,
        by strata, from those of the pick before, instead of anew for every pick.
    """

    name: ClassVar[str] = "batch-bald"
    cite: ClassVar[str] = "Kirsch et al. 2019"
    cost: ClassVar[str] = "O(n e c + k samples e c) time for e members, O(samples (e + c)) memory"
    when: ClassVar[str] = "an ensemble or dropout passes, and small batches that must not repeat themselves"
    needs: ClassVar[tuple[str, ...]] = ("member-logits",)
    prefix: ClassVar[bool] = True
    samples: int = 4096
    keep: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"{self.name}: samples must be 1 or more, got {self.samples}")
        if self.keep < 0:
            raise UsageError(f"{self.name}: keep must be 0 (all candidates) or more, got {self.keep}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The picks that add most, then those with the largest BALD."""
        matrix = query.matrix("member-logits")
        _check_members(matrix, name=self.name)
        n, k = len(query), query.budget
        bald = _bald(matrix, rng)
        competing = np.sort(top_k(bald, min(self.keep or n, n)))
        information = JointInformation(matrix.subset(competing).take, len(competing), samples=self.samples, rng=rng)
        found = _informative(information, min(k, len(competing)))
        rows = competing[found.rows]
        by_bald = top_k(bald, n)
        rest = by_bald[~np.isin(by_bald, rows)][: k - len(rows)]
        return Picks(
            rows=np.concatenate([rows, rest]),
            scores=np.concatenate([found.gains, np.zeros(len(rest))]),
            solver="lazy greedy",
            approx=self._approx(information, n),
            details={
                "informative_picks": len(rows),
                "then": "bald" if len(rest) else "",
                "nats": float(found.gains.sum()),
            },
        )

    def _approx(self, information: JointInformation, n: int) -> str:
        parts = []
        if 0 < self.keep < n:
            parts.append(f"only the {self.keep} candidates with the largest BALD of {n} compete: no guarantee")
        if information.sampled:
            error = 0.5 * information.resolution * np.sqrt(self.samples)
            parts.append(
                f"gains are estimated from {self.samples} configurations of labels: "
                f"unbiased, with a standard error of about {error:.2g} nats at most; "
                "drawing them again may raise a gain, so that lazy evaluation may miss the largest one"
            )
        return "; ".join(parts)


def _check_members(matrix: RowMatrix, *, name: str) -> None:
    """Raises ``UsageError`` unless there are at least two members to disagree."""
    shape = matrix.array.shape
    if len(shape) != 3 or shape[1] < 2:
        raise UsageError(
            f"{name} needs member-logits of shape (n, e, c) with at least 2 members e, got {shape}; "
            "give the logits of several checkpoints or of several passes with dropout on"
        )


def _bald(matrix: RowMatrix, rng: np.random.Generator) -> Values:
    """(n,) mutual information between each candidate's label and the member."""
    alone = JointInformation(matrix.take, len(matrix), samples=1, rng=rng)
    return gains_of(alone, np.arange(len(matrix)))


def _informative(information: JointInformation, k: int) -> Greedy:
    """Up to k greedy picks, until the best adds less than can be told from nothing."""
    lazy = LazyGreedy(information)
    rows, gains = list[int](), list[float]()
    while len(rows) < k:
        row, gain = lazy.best()
        if gain <= information.resolution:
            break
        rows.append(row)
        gains.append(gain)
        lazy.add(row)
    return Greedy(rows=np.array(rows, dtype=np.intp), gains=np.array(gains))
