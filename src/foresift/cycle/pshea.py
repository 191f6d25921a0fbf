"""Every strategy on its own labels, the one with the least forecast dropped round by round (PSHEA)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least, check_one_of
from foresift.cycle.curves import Forecast
from foresift.cycle.forecast import Forecaster
from foresift.cycle.stopping import StopRules, gain_over_control
from foresift.cycle.trials import CHARGES, Answer, Learner, Trial, check_strategies, take_turn


class Standing(NamedTuple):
    """Where an arm stands after a round."""

    strategy: str
    accuracy: float
    forecast: Forecast
    """Of the next round."""
    cost: float

    @property
    def badness(self) -> tuple[float, float, float]:
        """Ascending from the first to go: least forecast, then lower accuracy, then more expensive."""
        return self.forecast.value, self.accuracy, -self.cost


class Verdict(NamedTuple):
    """Who leaves after a round, and why."""

    dropped: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pshea:
    """Predictive successive halving: each strategy buys ``budget`` labels a round for its own labeled set.

    Despite its name one arm leaves a round (Successive Rejects, Audibert and Bubeck 2010); it spends
    about (|L| + 1) / 2 times the labels of the winner before one is left.

    Source: Huang et al. 2022 (ALaaS), Algorithm 1. Deviations: purchases are clipped so that ``max_labels`` is
    never exceeded (the paper may pass it by |L| rounds), and such a partial round drops nobody; in it the
    leader by forecast buys first. "Converge", ties and the fit of few points are defined here.
    """

    strategies: tuple[str, ...]
    budget: int
    """Samples that each strategy selects in a round."""
    stop: StopRules
    charge: str = "unique"
    """What ``max_labels`` limits: ``unique`` labels, or ``per_strategy`` as in the paper, where the same image bought
    by two strategies is paid twice."""
    eliminate: str = "paper"
    """``paper``: the least forecast; ``guarded``: unless its interval reaches the leader's; ``halving``: keep the
    better half (rounded up); ``none``: everyone stays, which is the brute force to compare with."""
    forecaster: Forecaster = field(default_factory=Forecaster)
    costs: Mapping[str, float] = field(default_factory=dict)
    """What a selection by each strategy costs, in any unit; only breaks ties."""
    control: str = "random"
    """If it alone is left of several, none beats it and the trial stops."""

    def __post_init__(self) -> None:
        check_strategies(self.strategies)
        check_at_least(1, budget=self.budget)
        check_one_of(CHARGES, charge=self.charge)
        check_one_of(tuple(_RULES), eliminate=self.eliminate)
        if self.eliminate == "guarded" and self.forecaster.fit != "robust":
            raise UsageError(f"eliminate='guarded' needs intervals, which fit={self.forecaster.fit!r} lacks")

    def start(self, *, accuracy: float, labels: int, evaluation_size: int) -> Trial:
        """A trial with all strategies in it."""
        names = tuple(sorted(self.strategies))
        return Trial(accuracy=accuracy, labels=labels, evaluation_size=evaluation_size, alive=names)

    def advance(self, trial: Trial, learner: Learner) -> Trial:
        """One round: stop, or let everyone alive buy and drop who is forecast to be worst.

        Raises:
            ContractError: as of :func:`take_turn`; whatever the learner raises leaves the trial as it was.
        """
        if trial.stopped:
            return trial
        if code := self._stop_code(trial):
            return trial.stop(code)
        leaders = [standing.strategy for standing in reversed(self.standings(trial))]
        played = replace(trial, round=trial.round + 1)
        for strategy in leaders:
            left = self.stop.max_labels - played.ledgers[self.charge]
            labels = played.bought(strategy)
            played = take_turn(played, strategy, learner, labels=labels, budget=self.budget, left=left)
        return self._eliminate(played)

    def standings(self, trial: Trial) -> list[Standing]:
        """Arms that are alive, the next to go first; of full ties the later name goes."""
        found = [self._standing(trial, strategy) for strategy in sorted(trial.alive, reverse=True)]
        return sorted(found, key=lambda standing: standing.badness)

    def answer(self, trial: Trial, *, price: float | None = None) -> Answer:
        """The best arm that is left, held against the control arm at equal labels.

        If the target stopped the trial, it is the arm that reached it, even one that was dropped in that round.
        """
        strategy = _leader(trial)
        accuracy = trial.points(strategy)[-1].accuracy
        control = trial.points(self.control)
        if strategy == self.control and len(self.strategies) > 1:
            return Answer(strategy=strategy, reason=f"none beats {strategy}: stop here", accuracy=accuracy)
        if strategy == self.control or len(control) < 2:
            return Answer(strategy=strategy, reason="the best that is left", accuracy=accuracy)
        size, budget = trial.evaluation_size, self.budget
        gain = gain_over_control(trial.points(strategy), control, budget=budget, evaluation_size=size, price=price)
        found = "beats" if gain.is_clear else "does not clearly beat"
        return Answer(strategy=strategy, reason=f"{found} {self.control}: {gain}", accuracy=accuracy, gain=gain)

    def _standing(self, trial: Trial, strategy: str) -> Standing:
        points = trial.points(strategy)
        forecast = self.forecaster.next(points, budget=self.budget, evaluation_size=trial.evaluation_size)
        return Standing(strategy, points[-1].accuracy, forecast, self.costs.get(strategy, 0.0))

    def _stop_code(self, trial: Trial) -> str:
        charged, size = trial.ledgers[self.charge], trial.evaluation_size
        reason = self.stop.reason(trial.best, charged=charged, evaluation_size=size)
        if reason or trial.short:
            return reason or trial.short
        return "control" if trial.alive == (self.control,) and len(self.strategies) > 1 else ""

    def _eliminate(self, trial: Trial) -> Trial:
        if len(trial.alive) == 1:
            return trial
        if trial.short:
            return trial.decided("keep", reason="a partial round drops nobody")
        standings = self.standings(trial)
        for standing in standings:
            trial = trial.decided("forecast", standing.strategy, reason="for the next round", values=_values(standing))
        verdict = _RULES[self.eliminate](standings)
        for strategy in verdict.dropped:
            trial = trial.decided("eliminate", strategy, reason=verdict.reason)
        if not verdict.dropped:
            trial = trial.decided("keep", reason=verdict.reason)
        return replace(trial, alive=tuple(name for name in trial.alive if name not in verdict.dropped))


def _leader(trial: Trial) -> str:
    """By the last evaluated accuracy among those alive, or by the best one of all if that met the target."""
    if trial.stopped == "target" and trial.turns:
        return max(trial.turns, key=lambda turn: turn.accuracy).strategy
    return max(trial.alive, key=lambda strategy: trial.points(strategy)[-1].accuracy)


def _values(standing: Standing) -> dict[str, float | None]:
    forecast = standing.forecast
    return {"accuracy": standing.accuracy, "forecast": forecast.value, "low": forecast.low, "high": forecast.high}


def _paper(standings: list[Standing]) -> Verdict:
    return Verdict((standings[0].strategy,), "the least forecast")


def _guarded(standings: list[Standing]) -> Verdict:
    worst, leader = standings[0].forecast, standings[-1].forecast
    if worst.high is not None and leader.low is not None and worst.high > leader.low:
        return Verdict((), "the least forecast may still turn out as good as the leader's")
    return Verdict((standings[0].strategy,), "the least forecast, and clearly below the leader's")


def _halving(standings: list[Standing]) -> Verdict:
    names = [standing.strategy for standing in standings]
    return Verdict(tuple(names[: len(names) // 2]), "in the half of the lower forecasts")


def _none(_: list[Standing]) -> Verdict:
    return Verdict((), "nobody is ever dropped")


_RULES: Mapping[str, Callable[[list[Standing]], Verdict]] = {
    "paper": _paper,
    "guarded": _guarded,
    "halving": _halving,
    "none": _none,
}
