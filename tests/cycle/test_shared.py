"""Thompson sampling on one labeled set: who gets the turns, what a resume draws, when it gives up."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import UnknownNameError, UsageError
from foresift.cycle.agents import AGENTS, AgentRequest, make_agent
from foresift.cycle.forecast import Forecaster
from foresift.cycle.shared import SharedThompson
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Id, Outcome, Trial, run

A0, START, SIZE = 0.3, 100, 20_000


class WorthLearner:
    """Labels are worth more when a better strategy bought them; accuracy follows from what they are worth."""

    def __init__(self, worth: dict[str, float]) -> None:
        self.worth = worth

    def __call__(self, strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        ids = tuple(f"{strategy}/{len(labels) + i}" for i in range(budget))
        worth = sum(self.worth[str(i).split("/")[0]] for i in (*labels, *ids))
        return Outcome(0.95 - 0.65 * math.exp(-worth / 400), ids)


def agent_of(*strategies: str, max_labels: int = 600, seed: int = 0, **options: object) -> SharedThompson:
    stop = StopRules(max_labels=max_labels, patience=50)
    return SharedThompson(strategies=strategies, budget=20, stop=stop, seed=seed, **options)  # type: ignore[arg-type]


def begin(agent: SharedThompson) -> Trial:
    return agent.start(accuracy=A0, labels=START, evaluation_size=SIZE)


def test_the_better_strategy_gets_most_turns() -> None:
    turns: Counter[str] = Counter()
    for seed in range(4):
        agent = agent_of("bad", "good", seed=seed, max_labels=400)
        trial = run(agent, begin(agent), WorthLearner({"bad": 0.4, "good": 1.6}))
        turns.update(turn.strategy for turn in trial.turns)
        assert agent.answer(trial).strategy == "good"
    assert turns["good"] > 2 * turns["bad"]


@given(st.integers(0, 1000), st.integers(0, 130), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_one_strategy_buys_a_round_within_the_budget_and_a_resume_draws_the_same(
    seed: int, max_labels: int, count: int
) -> None:
    names = ("a", "b", "c")[:count]
    agent, learner = agent_of(*names, max_labels=max_labels, seed=seed), WorthLearner({"a": 1, "b": 0.9, "c": 1.1})
    trial, rounds = begin(agent), 0
    while not trial.stopped:
        resumed = Trial.from_dict(json.loads(json.dumps(trial.to_dict())))
        trial = agent.advance(trial, learner)
        assert agent.advance(resumed, learner) == trial
        rounds += not trial.stopped
        assert trial.ledgers["unique"] == trial.ledgers["per_strategy"] <= max_labels
    assert len(trial.turns) == trial.round == rounds == math.ceil(max_labels / 20)
    assert trial.stopped == "budget"


def test_beliefs_are_the_normal_posterior_of_the_rewards() -> None:
    agent = agent_of("a", "b", forecaster=Forecaster(fit="last"))
    trial = begin(agent)
    while len({turn.strategy for turn in trial.turns}) < 2:
        trial = agent.advance(trial, WorthLearner({"a": 1, "b": 2}))
    accuracies = [A0, *(turn.accuracy for turn in trial.turns)]
    for name, belief in agent.beliefs(trial).items():
        mine = [i for i, turn in enumerate(trial.turns, start=1) if turn.strategy == name]
        p = (np.array([accuracies[i] for i in mine]) * SIZE + 1) / (SIZE + 2)
        weights = SIZE / (2 * p * (1 - p))
        precision = 1 / 0.02**2 + weights.sum()
        assert belief.turns == len(mine)
        assert belief.sd == pytest.approx(precision**-0.5)
        rewards = np.array([accuracies[i] - accuracies[i - 1] for i in mine])
        assert belief.mean == pytest.approx((rewards * weights).sum() / precision)


def test_it_stops_once_nothing_beats_random() -> None:
    agent = agent_of("margin", "random")
    trial = run(agent, begin(agent), WorthLearner({"margin": 0.2, "random": 2.0}))
    assert trial.stopped == "control"
    assert trial.ledgers["unique"] < 600
    found = agent.answer(trial)
    assert (found.strategy, found.gain) == ("random", None)
    assert found.reason == "none beats random: stop here"


def test_it_goes_on_while_something_beats_random() -> None:
    agent = agent_of("margin", "random", max_labels=300)
    trial = run(agent, begin(agent), WorthLearner({"margin": 2.0, "random": 0.2}))
    assert trial.stopped == "budget"
    assert agent.answer(trial).reason.startswith("better than random with probability")


def test_untried_strategies_have_the_prior_and_no_winner() -> None:
    agent = agent_of("margin", "random")
    beliefs = agent.beliefs(begin(agent))
    assert {(belief.mean, belief.turns) for belief in beliefs.values()} == {(0.0, 0)}
    assert beliefs["margin"].exceeds(beliefs["random"]) == pytest.approx(0.5)
    assert agent.answer(begin(agent)).strategy == "random"


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_runs_behind_the_same_interface(name: str) -> None:
    strategies = ("good",) if name == "fixed" else ("good", "bad", "random")
    agent = make_agent(name, AgentRequest(strategies=strategies, budget=10, stop=StopRules(max_labels=90)))
    trial = agent.start(accuracy=A0, labels=START, evaluation_size=SIZE)
    trial = run(agent, trial, WorthLearner({"good": 2.0, "bad": 0.5, "random": 1.0}))
    assert trial.stopped
    assert trial.ledgers["unique"] <= 90
    assert agent.answer(trial).strategy in strategies


def test_agents_are_asked_for_by_name() -> None:
    two = AgentRequest(strategies=("a", "b"), budget=5, stop=StopRules(max_labels=10))
    with pytest.raises(UnknownNameError, match="did you mean 'shared'"):
        make_agent("shard", two)
    with pytest.raises(UsageError, match="one strategy"):
        make_agent("fixed", two)
    for wrong in ({"doubt": 0.0}, {"seed": -1}, {"strategies": ("a", "a")}):
        with pytest.raises(UsageError):
            SharedThompson(**{"strategies": ("a",), "budget": 5, "stop": StopRules(max_labels=10), **wrong})  # type: ignore[arg-type]
