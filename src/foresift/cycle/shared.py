"""One labeled set for all strategies, and Thompson sampling over who buys next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from foresift.core.ranges import check_at_least, check_within
from foresift.cycle.curves import evaluation_error
from foresift.cycle.forecast import Forecaster
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Answer, Learner, Trial, check_strategies, take_turn

_PRIOR_SD = 0.02
"""What strategies are taken to differ by in a round before any has been tried, as a share."""
_ROUNDS_EACH = 3
"""Rounds a strategy before the trial may end because none beats the control: one look too early is often wrong."""


class Belief(NamedTuple):
    """What is known of a strategy's gain a round beyond what the curve led to expect; normal."""

    mean: float
    sd: float
    turns: int

    def exceeds(self, other: Belief) -> float:
        """The probability that it is better than another."""
        return NormalDist().cdf((self.mean - other.mean) / math.hypot(self.sd, other.sd))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedThompson:
    """Each round one strategy buys for the labeled set that all share: |L| arms for the labels of one.

    The reward of a round is its accuracy minus what the curve of the rounds before forecast, so that
    rounds late on a flattening curve compare with early ones. A strategy is drawn with the probability
    that it is the best, given a normal prior and the noise of evaluations and forecasts.

    Weaker evidence than separate arms: a round's reward also depends on what others bought before.

    Source: Zhang et al. 2023 (TAILOR, arXiv 2302.07317) for Thompson sampling over strategies on one labeled
    set; its reward is class balance, ours is accuracy.
    """

    strategies: tuple[str, ...]
    budget: int
    """Samples that are bought in a round, by whoever is drawn."""
    stop: StopRules
    seed: int = 0
    forecaster: Forecaster = field(default_factory=Forecaster)
    control: str = "random"
    doubt: float = 0.05
    """Stop once no strategy beats the control with more than this probability; not before three rounds a strategy."""

    def __post_init__(self) -> None:
        check_strategies(self.strategies)
        check_at_least(1, budget=self.budget)
        check_at_least(0, seed=self.seed)
        check_within(0.0, 1.0, doubt=self.doubt)

    def start(self, *, accuracy: float, labels: int, evaluation_size: int) -> Trial:
        """A trial with all strategies in it; none ever leaves."""
        names = tuple(sorted(self.strategies))
        return Trial(accuracy=accuracy, labels=labels, evaluation_size=evaluation_size, alive=names)

    def advance(self, trial: Trial, learner: Learner) -> Trial:
        """One round: stop, or draw who buys.

        Raises:
            ContractError: as of :func:`take_turn`; whatever the learner raises leaves the trial as it was.
        """
        if trial.stopped:
            return trial
        if code := self._stop_code(trial):
            return trial.stop(code)
        played = self._drawn(replace(trial, round=trial.round + 1))
        strategy = played.decisions[-1].strategy
        bought = trial.everything_bought
        left = self.stop.max_labels - len(bought)
        return take_turn(played, strategy, learner, labels=bought, budget=self.budget, left=left)

    def beliefs(self, trial: Trial) -> Mapping[str, Belief]:
        """Posterior of every strategy's reward; O(turns) curve fits."""
        rewards: dict[str, list[_Reward]] = {strategy: [] for strategy in trial.alive}
        for before, turn in enumerate(trial.turns, start=1):
            rewards[turn.strategy].append(self._reward(trial, before))
        return {strategy: _posterior(seen) for strategy, seen in rewards.items()}

    def _reward(self, trial: Trial, at: int) -> _Reward:
        """Of the round that led to point ``at``, with the noise of its evaluation and of the forecast before it."""
        points, size = trial.shared_points, trial.evaluation_size
        bought = points[at].labels - points[at - 1].labels
        expected = self.forecaster.next(points[:at], budget=bought, evaluation_size=size)
        noise = float(evaluation_error(points[at].accuracy, size))
        spread = noise  # a fit without an interval is taken to be as good as an evaluation
        if expected.low is not None and expected.high is not None:
            spread = (expected.high - expected.low) / (2 * NormalDist().inv_cdf((1 + self.forecaster.confidence) / 2))
        return _Reward(points[at].accuracy - expected.value, noise**2 + spread**2)

    def answer(self, trial: Trial, *, price: float | None = None) -> Answer:
        """The strategy with the best posterior mean; no gain, since nothing was bought by the control alone."""
        del price  # no gain to put a price on
        beliefs, accuracy = self.beliefs(trial), trial.shared_points[-1].accuracy
        strategy = max(beliefs, key=lambda name: (beliefs[name].mean, name == self.control))
        if self.control not in beliefs:
            return Answer(strategy=strategy, reason="the best average reward", accuracy=accuracy)
        if strategy == self.control or trial.stopped == "control":
            return Answer(strategy=self.control, reason=f"none beats {self.control}: stop here", accuracy=accuracy)
        odds = beliefs[strategy].exceeds(beliefs[self.control])
        reason = f"better than {self.control} with probability {odds:.2f}"
        return Answer(strategy=strategy, reason=reason, accuracy=accuracy)

    def _drawn(self, trial: Trial) -> Trial:
        """The trial with this round's draw in its log; the generator is the round's own, so a resume repeats it."""
        rng = np.random.default_rng([self.seed, trial.round])
        beliefs = self.beliefs(trial)
        draws = {name: float(rng.normal(beliefs[name].mean, beliefs[name].sd)) for name in sorted(beliefs)}
        strategy = max(draws, key=draws.__getitem__)
        reason = "the largest draw from what is known of each strategy's reward"
        return trial.decided("draw", strategy, reason=reason, values=draws)

    def _stop_code(self, trial: Trial) -> str:
        reason = self.stop.reason(
            trial.best, charged=len(trial.everything_bought), evaluation_size=trial.evaluation_size
        )
        if reason or trial.short:
            return reason or trial.short
        return "control" if self._none_beats_control(trial) else ""

    def _none_beats_control(self, trial: Trial) -> bool:
        beliefs = dict(self.beliefs(trial))
        control = beliefs.pop(self.control, None)
        if control is None or not beliefs or trial.round < _ROUNDS_EACH * len(self.strategies):
            return False
        tried = all(belief.turns for belief in [control, *beliefs.values()])
        return tried and all(belief.exceeds(control) <= self.doubt for belief in beliefs.values())


class _Reward(NamedTuple):
    value: float
    variance: float


def _posterior(rewards: list[_Reward]) -> Belief:
    """Of the mean reward: prior N(0, .02^2), each reward seen with normal noise of its own."""
    precision = _PRIOR_SD**-2.0 + sum(1.0 / reward.variance for reward in rewards)
    mean = sum(reward.value / reward.variance for reward in rewards) / precision
    return Belief(mean, precision**-0.5, len(rewards))
