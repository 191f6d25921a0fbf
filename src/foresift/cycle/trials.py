"""A trial of strategies as a value: who bought what, how good that made the model, what was decided and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import reduce
from typing import Any, NamedTuple, Protocol, TypeAlias

from foresift.core.errors import ContractError, StoreError, UsageError
from foresift.core.ranges import check_at_least
from foresift.cycle.forecast import Point
from foresift.cycle.stopping import Gain

Id: TypeAlias = str | int
Plain: TypeAlias = str | int | float | None
TRIAL_FORMAT = 1
CHARGES = ("unique", "per_strategy")


class Outcome(NamedTuple):
    """What one turn of a strategy brought."""

    accuracy: float
    """Of the model trained on all labels of the arm, on an evaluation set apart from the pool, within [0, 1]."""
    purchases: tuple[Id, ...]
    """Ids that were selected now: distinct, new to the arm, at most the budget; fewer only if the pool ends."""


class Learner(Protocol):
    """Selects, labels, trains, evaluates: everything that a decision waits for.

    May raise whenever it can't answer yet, such as while people label: the trial it was called
    for is a value that stays as it was, and the same call comes again when it goes on. It must
    give the same answer to the same call.
    """

    def __call__(self, strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        """Let a strategy select ``budget`` samples given what its arm has bought, then train and evaluate."""
        ...


class Agent(Protocol):
    """Decides from round to round which strategy buys labels."""

    def start(self, *, accuracy: float, labels: int, evaluation_size: int) -> Trial:
        """A trial before its first round.

        Args:
            accuracy: of the initial model, within [0, 1].
            labels: that the initial model was trained on.
            evaluation_size: labeled samples of the evaluation set; their cost is not in the budget.
        """
        ...

    def advance(self, trial: Trial, learner: Learner) -> Trial:
        """The trial after one more round, or stopped.

        Raises:
            ContractError: the learner broke its promise. Whatever it raises leaves the trial as it was.
        """
        ...

    def answer(self, trial: Trial, *, price: float | None = None) -> Answer:
        """What the trial recommends so far; ``price`` of one label puts the gain in money."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One strategy's part in one round."""

    round: int
    strategy: str
    accuracy: float
    purchases: tuple[Id, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, why, and on what numbers."""

    round: int
    action: str
    """``buy``, ``skip``, ``draw``, ``forecast``, ``eliminate``, ``keep`` or ``stop``."""
    strategy: str = ""
    """Whom it is about; "" for all."""
    reason: str
    values: Mapping[str, Plain]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Everything that decisions follow from; the ledgers are counted from the turns, so they can't disagree."""

    accuracy: float
    """Of the initial model: round 0 of every strategy."""
    labels: int
    """Of the initial model."""
    evaluation_size: int
    alive: tuple[str, ...]
    """Strategies still in the trial, by name."""
    round: int = 0
    """Rounds played."""
    turns: tuple[Turn, ...] = ()
    decisions: tuple[Decision, ...] = ()
    short: str = ""
    """Why the last round is partial: ``budget`` or ``pool`` ran out; "" for a full one."""
    stopped: str = ""
    """Why it is over: ``target``, ``budget``, ``converged``, ``pool`` or ``control``; "" while it goes on."""

    def __post_init__(self) -> None:
        check_at_least(0, labels=self.labels)
        check_at_least(1, evaluation_size=self.evaluation_size)
        if not 0 <= self.accuracy <= 1:
            raise UsageError(f"the initial accuracy must be within [0, 1], got {self.accuracy!r}")

    def bought(self, strategy: str) -> tuple[Id, ...]:
        """Ids that an arm has selected, in order."""
        return tuple(i for turn in self.turns if turn.strategy == strategy for i in turn.purchases)

    def points(self, strategy: str) -> tuple[Point, ...]:
        """Evaluations of an arm, the initial model first."""
        return self._curve(tuple(turn for turn in self.turns if turn.strategy == strategy))

    @property
    def shared_points(self) -> tuple[Point, ...]:
        """Evaluations in order, where all strategies buy for one labeled set."""
        return self._curve(self.turns)

    @property
    def everything_bought(self) -> tuple[Id, ...]:
        """All bought ids once, in order of purchase: labels for a last model on everything."""
        return tuple(dict.fromkeys(i for turn in self.turns for i in turn.purchases))

    @property
    def ledgers(self) -> Mapping[str, int]:
        """``per_strategy``: every selection counts, as in the paper; ``unique``: a sample counts once, as people do."""
        return {
            "per_strategy": sum(len(turn.purchases) for turn in self.turns),
            "unique": len(self.everything_bought),
        }

    @property
    def best(self) -> tuple[float, ...]:
        """The best accuracy evaluated up to round 0, 1, ..., of arms that are out as well."""
        accuracies = [[turn.accuracy for turn in self.turns if turn.round <= r] for r in range(self.round + 1)]
        return tuple(max(self.accuracy, *seen) if seen else self.accuracy for seen in accuracies)

    def decided(
        self, action: str, strategy: str = "", *, reason: str, values: Mapping[str, Plain] | None = None
    ) -> Trial:
        """The trial with one more line in its log."""
        line = Decision(round=self.round, action=action, strategy=strategy, reason=reason, values=dict(values or {}))
        return replace(self, decisions=(*self.decisions, line))

    def stop(self, code: str) -> Trial:
        """The trial, over."""
        stopped = replace(self, stopped=code)
        return stopped.decided("stop", reason=STOPS[code], values={"best": self.best[-1], **self.ledgers})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": TRIAL_FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Trial:
        """Inverse of :meth:`to_dict`.

        Raises:
            StoreError: another format, or not the fields of a trial.
        """
        values = dict(plain)
        if (found := values.pop("format", None)) != TRIAL_FORMAT:
            raise StoreError(f"trial format {found!r}, expected {TRIAL_FORMAT}")
        try:
            values["alive"] = tuple(values["alive"])
            values["turns"] = tuple(Turn(**turn | {"purchases": tuple(turn["purchases"])}) for turn in values["turns"])
            values["decisions"] = tuple(Decision(**decision) for decision in values["decisions"])
            return cls(**values)
        except (TypeError, KeyError) as error:
            raise StoreError(
                f"not a complete trial (expected {', '.join(f.name for f in fields(cls))}): {error}"
            ) from None

    def _curve(self, turns: tuple[Turn, ...]) -> tuple[Point, ...]:
        start = (Point(self.labels, self.accuracy),)
        return reduce(
            lambda points, turn: (*points, Point(points[-1].labels + len(turn.purchases), turn.accuracy)), turns, start
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a trial recommends."""

    strategy: str
    """The one to go on with; the control if none beats it."""
    reason: str
    accuracy: float
    """The last one evaluated for it."""
    gain: Gain | None = None
    """Over the control arm at equal labels; None if there was none, or it is the answer itself."""


STOPS = {
    "target": "the target accuracy is reached",
    "budget": "the budget is used up",
    "converged": "accuracy has stopped improving",
    "pool": "the pool has no more samples for a full round",
    "control": "no strategy beats random choice: stop here",
}
"""Why a trial is over, in words."""


def take_turn(
    trial: Trial, strategy: str, learner: Learner, *, labels: tuple[Id, ...], budget: int, left: int
) -> Trial:
    """The trial after a strategy has bought, or after it has been skipped for want of budget.

    Args:
        trial: its ``round`` is the one being played.
        strategy: whose turn it is.
        learner: asked once.
        labels: what the strategy has bought before.
        budget: labels of a full turn.
        left: labels that may still be paid; the purchase is clipped to them, so that they always suffice.
    Raises:
        ContractError: the learner bought too much, twice, again, or gave no accuracy.
    """
    batch = min(budget, left)
    if batch < budget:
        trial = replace(trial, short="budget")
    if batch < 1:
        return trial.decided("skip", strategy, reason="no budget left for this turn", values={"left": left})
    outcome = learner(strategy, labels, batch)
    _check(outcome, strategy, labels, batch)
    if len(outcome.purchases) < batch:
        trial = replace(trial, short=trial.short or "pool")
    if not outcome.purchases:
        return trial.decided("skip", strategy, reason="the pool has nothing left for it", values={"left": left})
    accuracy, purchases = float(outcome.accuracy), tuple(outcome.purchases)
    turn = Turn(round=trial.round, strategy=strategy, accuracy=accuracy, purchases=purchases)
    after = replace(trial, turns=(*trial.turns, turn))
    reason = "its turn" if batch == budget else "its turn, with what is left of the budget"
    values = {"labels": len(purchases), "accuracy": accuracy, **after.ledgers}
    return after.decided("buy", strategy, reason=reason, values=values)


def run(agent: Agent, trial: Trial, learner: Learner) -> Trial:
    """Rounds until the trial is over."""
    while not trial.stopped:
        trial = agent.advance(trial, learner)
    return trial


def check_strategies(strategies: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless there is at least one strategy and none is named twice."""
    if not strategies or len(set(strategies)) < len(strategies) or not all(strategies):
        raise UsageError(f"expected one or more different strategies, got {', '.join(strategies) or 'none'}")


def _check(outcome: Outcome, strategy: str, labels: tuple[Id, ...], batch: int) -> None:
    bought = outcome.purchases
    if len(bought) > batch:
        raise ContractError(f"{strategy}: expected at most {batch} purchases, got {len(bought)}")
    if len(set(bought)) < len(bought) or not set(bought).isdisjoint(labels):
        raise ContractError(f"{strategy}: a sample was bought twice by the same arm")
    if not (math.isfinite(outcome.accuracy) and 0 <= outcome.accuracy <= 1):
        raise ContractError(f"{strategy}: accuracy must be within [0, 1], got {outcome.accuracy!r}")
