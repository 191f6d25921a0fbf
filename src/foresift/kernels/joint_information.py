"""Mutual information between the labels of a batch and the member that is right: exact, or from kept configurations.

A configuration y of the batch's labels has a probability and a posterior over the e members. What another
candidate x adds is the expected Jensen-Shannon divergence of the members' predictions for x under these
posteriors, ``E_y [H(sum_e w_e p_e) - sum_e w_e H(p_e)]``: a mean of non-negative terms without the
cancellation of joint entropies, at most ``log e`` over all picks together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.kernels.greedy import Objective
from foresift.kernels.softmax import log_softmax

Floats = npt.NDArray[np.float64]
CELLS = 1 << 21
"""Numbers in a block of predictive distributions: 16 MiB."""


class JointInformation(Objective):
    """Mutual information of the picks' labels with the member; its first gains are BALD.

    Args:
        members: gives the (b, e, c) logits of b candidates.
        n_candidates: n.
        samples: configurations kept; while there are no more, all is exact. Beyond, they are drawn
            again by stratified resampling, which leaves every expectation unbiased.
        rng: draws ``samples`` numbers for each resampling.
    Cost: O(samples e c) time for a gain; O(samples (e + c)) memory beside one block.
    Source: Kirsch et al. 2019, eq. 8 and section 3.3, in the form of conditional mutual information.
    """

    def __init__(
        self,
        members: Callable[[Rows], npt.NDArray[np.floating[Any]]],
        n_candidates: int,
        *,
        samples: int,
        rng: np.random.Generator,
    ) -> None:
        self._members, self._n, self._samples, self._rng = members, n_candidates, samples, rng
        e = members(np.zeros(1, dtype=np.intp)).shape[1]
        self._mass: Floats = np.ones(1)
        self._posteriors: Floats = np.full((1, e), 1 / e)
        self.sampled = False
        """Whether configurations have been resampled: gains are estimates from then on."""

    @property
    def n_candidates(self) -> int:
        """n."""
        return self._n

    @property
    def resolution(self) -> float:
        """The smallest gain that means something: rounding, or what one kept configuration can add at most."""
        return float(np.log(self._posteriors.shape[1]) / self._samples) if self.sampled else 1e-12

    def gains(self, rows: Rows) -> Values:
        """(b,) conditional mutual information of each candidate's label with the member, given the picks'."""
        log_probs = self._log_probs(rows)
        _, _, c = log_probs.shape
        step = max(1, CELLS // (len(self._mass) * c))
        return np.concatenate([self._gains(log_probs[at : at + step]) for at in range(0, len(rows), step)])

    def add(self, row: int) -> None:
        """Split every configuration by the label of a candidate; keep no more than ``samples``."""
        probs = np.exp(self._log_probs(np.array([row])))[0]
        mass = (self._mass[:, None] * (self._posteriors @ probs)).ravel()
        kept = np.flatnonzero(mass > 0)
        if len(kept) > self._samples:
            kept = _resampled(mass, self._samples, self._rng)
            self.sampled = True
            self._mass = np.full(len(kept), 1 / len(kept))
        else:
            self._mass = mass[kept] / mass[kept].sum()
        before, label = np.divmod(kept, probs.shape[1])
        joint = self._posteriors[before] * probs.T[label]
        self._posteriors = joint / joint.sum(axis=1, keepdims=True)

    def _log_probs(self, rows: Rows) -> Floats:
        """(b, e, c)"""
        logits = self._members(rows)
        b, e, c = logits.shape
        return np.asarray(log_softmax(logits.reshape(b * e, c).astype(np.float64)), dtype=np.float64).reshape(b, e, c)

    def _gains(self, log_probs: Floats) -> Values:
        b, e, c = log_probs.shape
        probs = np.exp(log_probs)
        mixed = self._posteriors @ probs.transpose(1, 0, 2).reshape(e, b * c)
        information = mixed * np.log(np.maximum(mixed, np.finfo(np.float64).tiny))
        joint = -(self._mass @ information).reshape(b, c).sum(axis=1)
        alone = -(probs * log_probs).sum(axis=2) @ (self._mass @ self._posteriors)
        return np.asarray(np.maximum(joint - alone, 0))


def _resampled(mass: Floats, size: int, rng: np.random.Generator) -> Rows:
    """(size,) positions, each expected ``size * mass`` times: one is drawn from each of ``size`` equal parts."""
    cumulative = np.cumsum(mass)
    points = (rng.random(size) + np.arange(size)) / size * cumulative[-1]
    return np.asarray(np.minimum(np.searchsorted(cumulative, points, side="right"), len(mass) - 1))
