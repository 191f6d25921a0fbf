"""Runs reach the same end however they are interrupted, and never buy more or other labels."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foresift.core.digests import digest_value
from foresift.core.labels import LabelRecord
from foresift.core.rounds import Round, Run
from foresift.cycle.plans import FROM_INHERITED, ByAgent, First, OneStrategy, Plan, bought
from foresift.cycle.pshea import Pshea
from foresift.cycle.rounds import Gathered, Picked, Trained
from foresift.cycle.runs import advance_run
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Trial
from foresift.stores.records.memory import MemoryRecords

POOL = tuple(f"s{number:02d}" for number in range(40))
BUDGET, ROUNDS = 4, 4
TRIED = 18
"""Labels of a trial: in its second round the second strategy gets what is left."""
RUN = "run"


class CrashError(Exception):
    """kill -9."""


class World:
    """What outlives workers: records, files by name, answers that people gave."""

    def __init__(self, plan: Plan, *, own: bool, quota: int | None = None) -> None:
        self.records = MemoryRecords()
        self.plan, self.own, self.quota = plan, own, quota
        self.files: dict[str, Any] = {}
        self.given: dict[str, str] = {}
        self.records.add_run(Run(id=RUN, pool="pool"))

    @property
    def rounds(self) -> tuple[Round, ...]:
        return self.records.rounds(RUN)

    def keep(self, name: str, content: Any) -> None:
        assert self.files.setdefault(name, content) == content, f"{name} was made twice, differently"

    def before(self, round: Round) -> list[Round]:
        mine = [one for one in self.rounds if one.number < round.number and one.selected]
        return [one for one in mine if not self.own or one.details["turn"] == 0 or one.strategy == round.strategy]


class Worker:
    """Ports and records of one process, which may die, or be overtaken, at any effect."""

    def __init__(self, world: World, *, at: Callable[[], None] = lambda: None) -> None:
        self.world, self._at = world, at

    def select(self, round: Round) -> Picked:
        self._at()
        before = self.world.before(round)
        asked = {sample for one in before for sample in one.selected}
        model = before[-1].details["labels"] if before else ""
        order = sorted(set(POOL) - asked, key=lambda sample: digest_value([sample, round.strategy, model]))
        return Picked(ids=tuple(order[: round.budget]))

    def gather(self, round: Round) -> Gathered:
        self._at()
        asked = [sample for one in [*self.world.before(round), round] for sample in one.selected]
        answers = [s for s in round.selected if s in self.world.given]
        self.world.records.add_labels(
            LabelRecord(sample_id=s, value=self.world.given[str(s)], pool="pool", run=RUN, round=round.number)
            for s in answers
        )
        self._at()
        known = {one.sample_id: one.value for one in self.world.records.labels(run=RUN)}
        labels = sorted((str(s), known[s]) for s in asked if s in known)
        enough = len(round.selected) if self.world.quota is None else min(self.world.quota, len(round.selected))
        key = digest_value(labels)
        self.world.keep(f"labels/{key}", labels)
        return Gathered(closed=len(answers) >= enough, answers=len(answers), labels=len(labels), key=key)

    def train(self, round: Round) -> Trained:
        self._at()
        weights = digest_value([self.world.files[f"labels/{round.details['labels']}"], round.details["turn"]])
        self.world.keep(f"weights/{round.details['labels']}-{round.details['turn']}", weights)
        self._at()
        accuracy = int(weights[:6], 16) / 16**6
        return Trained(generation=weights, metrics={"top1": accuracy, "n": 100})

    def step(self) -> bool:
        moved = advance_run(self.world.records, RUN, self.world.plan, self).moved
        self._at()
        return moved


def one_strategy() -> Plan:
    stop = StopRules(max_labels=BUDGET * ROUNDS - 1)
    first = First(strategy="random", budget=BUDGET)
    return OneStrategy(
        first=first, strategy="margin", budget=BUDGET, rounds=ROUNDS, pool=len(POOL), stop=stop, converges=False
    )


def by_agent() -> Plan:
    stop = StopRules(max_labels=TRIED, patience=9)
    agent = Pshea(strategies=("entropy", "margin", "random"), budget=BUDGET, stop=stop)
    return ByAgent(first=First(strategy="random", budget=BUDGET), agent=agent, rounds=5)


def of_an_heir() -> Plan:
    """Like an agent's, but the first round only learns from what was there."""
    plan = by_agent()
    assert isinstance(plan, ByAgent)
    return replace(plan, first=FROM_INHERITED)


PLANS = {"one strategy": (one_strategy, False), "agent": (by_agent, True), "heir": (of_an_heir, True)}
PAID = {"one strategy": BUDGET * ROUNDS - 1, "agent": TRIED + BUDGET, "heir": TRIED}


def answer_all(world: World) -> None:
    for one in world.rounds:
        for sample in one.selected:
            world.given.setdefault(str(sample), f"class {int(digest_value(sample)[0], 16) % 3}")


def finish(world: World) -> World:
    worker = Worker(world)
    for _ in range(500):
        if world.records.run(RUN).is_over:
            return world
        answer_all(world)
        worker.step()
    raise AssertionError("the run did not end")


def outcome(world: World) -> list[Any]:
    run = world.records.run(RUN)
    rows = [(one.strategy, one.budget, one.selected, one.generation, one.state, one.partial) for one in world.rounds]
    return [run.state, run.reason, run.trial, rows]


class AnyInterruption(RuleBasedStateMachine):
    """Steps of several workers, each of which may die at any effect or be overtaken there by another."""

    @initialize(kind=st.sampled_from(sorted(PLANS)), quota=st.sampled_from([None, None, 2]))
    def begin(self, kind: str, quota: int | None) -> None:
        plan, own = PLANS[kind]
        self.kind, self.world = kind, World(plan(), own=own, quota=quota)
        self.paid = PAID[kind]

    @rule()
    def step(self) -> None:
        Worker(self.world).step()

    @rule(effects=st.integers(0, 3))
    def crash(self, effects: int) -> None:
        left = [effects]

        def die() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise CrashError

        with contextlib.suppress(CrashError):
            for _ in range(4):
                Worker(self.world, at=die).step()

    @rule(effects=st.integers(0, 3), steps=st.integers(1, 3))
    def overtaken(self, effects: int, steps: int) -> None:
        """Between two effects of one worker another one goes ahead; then the first one goes on."""
        left = [effects]

        def wait() -> None:
            left[0] -= 1
            if left[0] == -1:
                for _ in range(steps):
                    Worker(self.world).step()

        Worker(self.world, at=wait).step()

    @rule(share=st.floats(0, 1))
    def some_answer(self, share: float) -> None:
        for one in self.world.rounds:
            for sample in one.selected[: round(share * len(one.selected))]:
                self.world.given.setdefault(str(sample), f"class {int(digest_value(sample)[0], 16) % 3}")

    @rule(number=st.integers(0, 9))
    def the_same_answers_again(self, number: int) -> None:
        """Also to rounds that are closed: late ones are kept, repeated ones change nothing."""
        if not (rounds := self.world.rounds):
            return
        one = rounds[number % len(rounds)]
        given = [sample for sample in one.selected if sample in self.world.given]
        self.world.records.add_labels(
            LabelRecord(sample_id=s, value=self.world.given[str(s)], pool="pool", run=RUN, round=one.number)
            for s in given
        )

    @precondition(lambda self: hasattr(self, "world"))
    @rule()
    def cancel_and_resume(self) -> None:
        run = self.world.records.run(RUN)
        if run.is_over:
            return
        cancelled = self.world.records.change_run(replace(run, state="cancelled"))
        before = self.world.rounds
        assert not Worker(self.world).step()
        assert self.world.rounds == before
        self.world.records.change_run(replace(cancelled, state="running"))

    @invariant()
    def nothing_is_bought_twice_or_beyond_the_budget(self) -> None:
        if not hasattr(self, "world"):
            return
        rounds = self.world.rounds
        assert [one.number for one in rounds] == list(range(1, len(rounds) + 1))
        assert bought(rounds) <= self.paid
        for last in rounds:
            mine = [sample for one in [*self.world.before(last), last] for sample in one.selected]
            assert len(set(mine)) == len(mine)
        stored = self.world.records.labels(run=RUN, current=False)
        assert len({one.sample_id for one in stored}) == len(stored)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        ended = finish(self.world)
        if self.world.quota is None:
            plan, own = PLANS[self.kind]
            assert outcome(ended) == outcome(finish(World(plan(), own=own)))


AnyInterruption.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnyInterruption = AnyInterruption.TestCase


def test_an_undisturbed_run_spends_its_budget_and_no_more() -> None:
    world = finish(World(one_strategy(), own=False))
    assert world.records.run(RUN).reason == "the budget is used up"
    assert [one.budget for one in world.rounds] == [4, 4, 4, 3]
    assert [one.details["trained_on"] for one in world.rounds] == [4, 8, 12, 15]


def test_the_ledger_of_a_trial_is_that_of_its_rounds() -> None:
    world = finish(World(by_agent(), own=True))
    trial = Trial.from_dict(world.records.run(RUN).trial or {})
    turns = [(one.details["turn"], one.strategy, one.selected) for one in world.rounds[1:]]
    assert turns == [(one.round, one.strategy, one.purchases) for one in trial.turns]
    assert bought(world.rounds) == BUDGET + trial.ledgers["unique"] <= BUDGET + TRIED
    assert trial.stopped


def test_an_heir_learns_before_it_buys() -> None:
    world = finish(World(of_an_heir(), own=True))
    first, *others = world.rounds
    assert (first.selected, first.state, first.partial, bool(first.generation)) == ((), "done", False, True)
    assert bought(others) == Trial.from_dict(world.records.run(RUN).trial or {}).ledgers["unique"] <= TRIED


def test_all_selections_of_a_turn_are_asked_at_once() -> None:
    """People who label for an agent get the work of all strategies together, not one after the other."""
    world = World(by_agent(), own=True)
    worker = Worker(world)
    while worker.step() or not world.given:
        if world.rounds[0].state == "labeling" and not world.given:
            answer_all(world)
    assert sorted(one.strategy for one in world.rounds[1:]) == ["entropy", "margin", "random"]
    assert {one.state for one in world.rounds[1:]} == {"labeling"}


def test_an_agent_may_find_that_nothing_beats_random() -> None:
    class RandomWins(Worker):
        def train(self, round: Round) -> Trained:
            trained = super().train(round)
            return replace(trained, metrics={"top1": 0.9 if round.strategy == "random" else 0.1, "n": 100})

    agent = Pshea(strategies=("margin", "random"), budget=BUDGET, stop=StopRules(max_labels=36, patience=9))
    world = World(ByAgent(first=First(strategy="random", budget=BUDGET), agent=agent, rounds=9), own=True)
    worker = RandomWins(world)
    while not world.records.run(RUN).is_over:
        answer_all(world)
        worker.step()
    assert world.records.run(RUN).reason == "no strategy beats random choice: stop here"
    told = [one.values["action"] for one in world.records.events(RUN) if one.kind == "decision"]
    assert told[-1] == "stop"
    assert "eliminate" in told
