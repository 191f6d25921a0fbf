"""What a run does next: one strategy round after round, or an agent that tries several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from foresift.core.errors import ForesiftError
from foresift.core.rounds import Round, Run
from foresift.cycle.forecast import Point
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import STOPS, Agent, Id, Outcome, Trial

TOP1, MIOU = "top1", "miou"
"""The metrics that decisions are made by: the share of images whose class is right; the mean overlap of masks."""
REASONS = {
    **STOPS,
    "rounds": "all rounds are played",
    "pool": "everything in the pool is labeled",
}
"""Why a run is over, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Begin a round."""

    turn: int
    """0 for the first labels, then the round of the plan; several rounds of a run share one where several try."""
    strategy: str
    budget: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Keep what the agent decided."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Go on with the rounds that are not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The run is over."""

    code: str
    reason: str


Move: TypeAlias = Open | Settle | Work | Stop


class Plan(Protocol):
    """Decides from what is stored alone, so that it decides the same after a crash."""

    def next(self, run: Run, rounds: Sequence[Round]) -> Move:
        """What to do next."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first labels of a run, before there is a model; they count as a round."""

    strategy: str
    budget: int
    """0 = nothing is bought: what there is to learn from was there before."""

    def move(self) -> Open:
        """Open round 1."""
        return Open(turn=0, strategy=self.strategy, budget=self.budget)


FROM_INHERITED = First(strategy="inherited", budget=0)
"""Learns from inherited labels alone: what all arms of a trial start from, and are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStrategy:
    """The same strategy every round, until something is used up or reached."""

    first: First
    strategy: str
    budget: int
    """Labels of a round."""
    rounds: int
    pool: int
    """Samples that can be labeled."""
    stop: StopRules
    converges: bool = False
    """Whether to stop when accuracy no longer improves."""

    def next(self, run: Run, rounds: Sequence[Round]) -> Move:
        """The next round, the first one included, or the end."""
        del run
        if not rounds:
            return self.first.move()
        if rounds[-1].state != "done":
            return Work()
        if code := self._over(rounds):
            return Stop(code=code, reason=REASONS[code])
        left = min(self.stop.max_labels, self.pool) - bought(rounds)
        return Open(turn=len(rounds), strategy=self.strategy, budget=min(self.budget, left))

    def _over(self, rounds: Sequence[Round]) -> str:
        """Why there is no further round, or ""."""
        paid, curve = bought(rounds), points(rounds)
        if curve:
            best = [max(p.accuracy for p in curve[: at + 1]) for at in range(len(curve))]
            code = self.stop.reason(best, charged=paid, evaluation_size=evaluation_size(rounds))
            if code and (code != "converged" or self.converges):
                return code
        if len(rounds) >= self.rounds:
            return "rounds"
        if paid >= self.stop.max_labels:
            return "budget"
        return "pool" if paid >= self.pool or not rounds[-1].selected else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByAgent:
    """An agent decides who buys; each purchase is a round of its own."""

    first: First
    agent: Agent
    rounds: int
    """Rounds of the trial, the first one included."""

    def next(self, run: Run, rounds: Sequence[Round]) -> Move:
        """The purchase that the agent asks for next, what it decided, or the end."""
        if not rounds:
            return self.first.move()
        if rounds[0].state != "done":
            return Work()
        trial = self._trial(run, rounds[0])
        if trial.stopped:
            return Stop(code=trial.stopped, reason=REASONS[trial.stopped])
        if trial.round >= self.rounds - 1:
            return Stop(code="rounds", reason=REASONS["rounds"])
        return self._play(trial, rounds)

    def _trial(self, run: Run, first: Round) -> Trial:
        if run.trial is not None:
            return Trial.from_dict(run.trial)
        start = points([first])[0]
        return self.agent.start(accuracy=start.accuracy, labels=start.labels, evaluation_size=evaluation_size([first]))

    def _play(self, trial: Trial, rounds: Sequence[Round]) -> Move:
        """Let the agent go on as far as the rounds allow: it asks the same again next time."""
        learner = _Recorded([one for one in rounds if one.details["turn"] == trial.round + 1])
        try:
            after = self.agent.advance(trial, learner)
        except _NotOpenedError as missing:
            return Open(turn=trial.round + 1, strategy=missing.strategy, budget=missing.budget)
        except _NotSelectedError:
            return Work()
        return Work() if learner.unfinished else Settle(trial=after)


class _Recorded:
    """A learner that has done what the records hold.

    Of a round that is selected but not trained it gives the purchases and no accuracy. What the agent makes of that
    is thrown away; but all of a turn's selections are asked of people at once instead of one after the other.
    """

    def __init__(self, rounds: Sequence[Round]) -> None:
        self._rounds = {one.strategy: one for one in rounds}
        self.unfinished = False

    def __call__(self, strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        del labels  # those of the rounds before, which the records hold as well
        found = self._rounds.get(strategy)
        if found is None:
            raise _NotOpenedError(strategy, budget)
        if found.state == "selecting":
            raise _NotSelectedError
        if found.state != "done":
            self.unfinished = True
        return Outcome(accuracy(found.metrics) or 0.0, found.selected)


class _NotOpenedError(ForesiftError):
    def __init__(self, strategy: str, budget: int) -> None:
        super().__init__(strategy)
        self.strategy, self.budget = strategy, budget


class _NotSelectedError(ForesiftError):
    pass


def bought(rounds: Sequence[Round]) -> int:
    """Distinct samples that labels were asked for; whoever is asked is paid, so that no budget is exceeded."""
    return len({sample for one in rounds for sample in one.selected})


def accuracy(metrics: Mapping[str, Any]) -> float | None:
    """How good a model is, as far as it was measured: by classes, else by masks."""
    return next((float(metrics[name]) for name in (TOP1, MIOU) if name in metrics), None)


def points(rounds: Sequence[Round]) -> list[Point]:
    """Evaluations of rounds that are done, those that brought new labels only."""
    found: list[Point] = []
    for one in rounds:
        labels = int(one.details.get("trained_on", 0))
        value = accuracy(one.metrics)
        if value is not None and (not found or labels > found[-1].labels):
            found.append(Point(labels, value))
    return found


def evaluation_size(rounds: Sequence[Round]) -> int:
    """Samples that accuracies were counted over."""
    return int(rounds[0].metrics.get("n", 1)) if rounds else 1
