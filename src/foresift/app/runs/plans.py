"""From what a run file asks for to the plan that decides."""

from __future__ import annotations

from foresift.app.runs.file_values import NONE
from foresift.app.runs.files import RunFile
from foresift.app.runs.pool_files import RunPool
from foresift.cycle.agents import AgentRequest, make_agent
from foresift.cycle.plans import FROM_INHERITED, ByAgent, First, OneStrategy, Plan
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Agent

PATIENCE = 3
"""Rounds without improvement after which an agent stops, unless the file says otherwise."""


def make_plan(file: RunFile, pool: RunPool) -> Plan:
    """What decides in a run.

    Raises:
        UsageError: settings that do not fit each other.
    """
    first = First(strategy=file.strategy if file.inherit else file.initial, budget=min(file.budget, file.most_labels))
    if tries(file, pool):
        agent = make_trial_agent(file)
        if file.inherit:  # the arms buy in every round
            return ByAgent(first=FROM_INHERITED, agent=agent, rounds=file.rounds + 1)
        return ByAgent(first=first, agent=agent, rounds=file.rounds)
    stop = StopRules(max_labels=file.most_labels, target=file.target, patience=file.converge or PATIENCE)
    return OneStrategy(
        first=first,
        strategy=file.strategy,
        budget=file.budget,
        rounds=file.rounds,
        pool=pool.size,
        stop=stop,
        converges=file.converge is not None,
    )


def tries(file: RunFile, pool: RunPool) -> bool:
    """Whether several strategies are compared: asked for, and there is something to measure on."""
    return file.tries and pool.evaluation_size > 0 and file.evaluation != NONE


def make_trial_agent(file: RunFile) -> Agent:
    """The agent that a run file asks for; with a control arm, one that drops nobody."""
    strategies: tuple[str, ...]
    if file.control:
        name, strategies = "brute-force", (file.strategy, "random")
        patience = file.converge or file.rounds
    else:
        name = "pshea-guarded" if file.agent == "pshea" and file.guard else file.agent
        strategies, patience = tuple(file.strategies), file.converge or PATIENCE
    left = file.most_labels - file.first_labels
    stop = StopRules(max_labels=left, target=file.target, patience=patience)
    return make_agent(
        name,
        AgentRequest(strategies=strategies, budget=file.budget, stop=stop, seed=file.seed, charge=file.charge),
    )
