"""A score's largest values with chance in it, so that the picks of one batch are less alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.topk import top_k
from foresift.scores.registry import SCORES, Score
from foresift.selection.base import Strategy, check_finite
from foresift.selection.registry import strategy

FORMS = ("power", "softmax", "softrank")


@strategy
@dataclass(frozen=True, kw_only=True)
class Power(Strategy):
    """Candidates drawn one by one without replacement, with a probability that grows with their score.

    A candidate with score s, the r-th largest (ties by id), is the first pick with a probability
    proportional to ``s^beta`` (power), ``exp(beta s)`` (softmax) or ``r^-beta`` (softrank); later
    picks are drawn alike from those that remain. A large beta approaches the k largest scores, a
    small one a random draw. Under ``power``, scores of 0 come last, in random order.

    Args:
        score: name of a score of logits; for ``power`` it must not be negative.
        beta: above 0; not comparable between forms, as scores have units.
        form: ``power``, ``softmax`` or ``softrank``.
    Cost: that of the score, and O(n log n).
    Source: Kirsch et al. 2023, section 3: the k largest of ``log p + G`` for Gumbel noise G, with
        one number for each candidate in order of id (Kool et al. 2019).
    """

    name: ClassVar[str] = "power"
    cite: ClassVar[str] = "Kirsch et al. 2023, Stochastic Batch Acquisition"
    cost: ClassVar[str] = "that of the score, and n log n"
    when: ClassVar[str] = "a batch from one score whose picks should be less alike, at no extra cost"
    needs: ClassVar[tuple[str, ...]] = ("logits",)
    prefix: ClassVar[bool] = True

    score: str = "entropy"
    beta: float = 1.0
    form: str = "power"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.beta) and self.beta > 0):
            raise UsageError(f"beta must be a finite number above 0, got {self.beta!r}")
        if self.form not in FORMS:
            raise UsageError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")
        needs = self._score.needs
        if needs != ("logits",):
            raise UsageError(f"power takes a score of logits alone; {self.score} needs {', '.join(needs)}")

    @property
    def _score(self) -> Score:
        return SCORES.get(self.score)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """k rows in the order in which they were drawn, with their scores."""
        values = check_finite(self._score.over(len(query), query.block), query, name=self.score)
        keys = self.beta * self._log_weights(values.astype(np.float64)) + gumbel(len(query), rng)
        rows = _largest_keys(keys, values == 0 if self.form == "power" else np.zeros(len(query), dtype=np.bool_))
        rows = rows[: query.budget]
        return Picks(rows=rows, scores=values[rows], solver=f"gumbel top-k, {self.form}")

    def _log_weights(self, values: Values) -> Values:
        """(n,) logarithm of each first-pick probability at beta = 1, up to a constant."""
        if self.form == "softmax":
            return values
        return self._log_power(values) if self.form == "power" else _log_rank(values)

    def _log_power(self, values: Values) -> Values:
        """log s; 0 where s is 0, so that those are in random order among themselves."""
        if values.min() < 0:
            raise UsageError(f"form=power takes scores of 0 or more and {self.score} has {values.min()}; use softmax")
        return np.log(np.where(values > 0, values, 1))


def gumbel(n: int, rng: np.random.Generator) -> Values:
    """(n,) standard Gumbel numbers from raw bits, whose stream NumPy guarantees for ever."""
    uniform = ((rng.bit_generator.random_raw(n) >> np.uint64(11)) + 0.5) * 2.0**-53
    return np.asarray(-np.log(-np.log(uniform)))


def _log_rank(values: Values) -> Values:
    """-log r of the r-th largest value, ties by row."""
    result = np.empty(len(values))
    result[top_k(values, len(values))] = -np.log(np.arange(1, len(values) + 1))
    return result


def _largest_keys(keys: Values, last: npt.NDArray[np.bool_]) -> Rows:
    """All rows by falling key, those marked ``last`` behind all others."""
    order = top_k(keys, len(keys))
    return np.concatenate([order[~last[order]], order[last[order]]])
