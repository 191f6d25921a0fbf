"""The agents by name: what a run file's ``agent:`` may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foresift.core.errors import UnknownNameError, UsageError
from foresift.cycle.pshea import Pshea
from foresift.cycle.shared import SharedThompson
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Agent


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What every agent needs to know."""

    strategies: tuple[str, ...]
    budget: int
    """Labels of one turn."""
    stop: StopRules
    seed: int = 0
    charge: str = "unique"
    """For agents with an arm for each strategy: ``unique`` or ``per_strategy``."""


def make_agent(name: str, request: AgentRequest) -> Agent:
    """The agent of a name: ``pshea``, ``pshea-guarded``, ``halving``, ``brute-force``, ``shared`` or ``fixed``.

    Raises:
        UnknownNameError: no agent of that name.
        UsageError: the request does not fit it, such as two strategies for ``fixed``.
    """
    if name not in AGENTS:
        raise UnknownNameError("agent", name, AGENTS)
    return AGENTS[name](request)


def _arms(eliminate: str) -> Callable[[AgentRequest], Agent]:
    return lambda request: Pshea(
        strategies=request.strategies,
        budget=request.budget,
        stop=request.stop,
        charge=request.charge,
        eliminate=eliminate,
    )


def _shared(request: AgentRequest) -> Agent:
    return SharedThompson(strategies=request.strategies, budget=request.budget, stop=request.stop, seed=request.seed)


def _fixed(request: AgentRequest) -> Agent:
    """One strategy is a trial with nobody to drop."""
    if len(request.strategies) != 1:
        raise UsageError(f"agent 'fixed' takes one strategy, got {', '.join(request.strategies) or 'none'}")
    return _arms("none")(request)


AGENTS: Mapping[str, Callable[[AgentRequest], Agent]] = {
    "pshea": _arms("paper"),
    "pshea-guarded": _arms("guarded"),
    "halving": _arms("halving"),
    "brute-force": _arms("none"),
    "shared": _shared,
    "fixed": _fixed,
}
