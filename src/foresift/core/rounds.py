"""Rounds and runs: one turn of select, label, train; and the turns under one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from foresift.core.errors import UsageError

SampleId: TypeAlias = str | int
"""A sample's id as a plain value; 7 and "7" are different ids."""
RUN_STATES = ("running", "waiting", "finished", "cancelled", "failed")
"""``waiting``: for people. The last three are ends."""
ROUND_STATES = ("selecting", "labeling", "training", "done")
"""In the order in which a round goes through them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Rounds under one budget, as a record."""

    id: str
    config: Mapping[str, Any] = field(default_factory=dict)
    """The run file, its defaults filled in; plain values."""
    state: str = "running"
    reason: str = ""
    """Why it is in that state, for people."""
    pool: str
    """Name of the pool."""
    pool_version: str = ""
    """Of the pool as the run first saw it."""
    trial: Mapping[str, Any] | None = None
    """What the agent knows (:meth:`foresift.cycle.trials.Trial.to_dict`); None without an agent."""
    version: int = 0
    """How often the stored record has been changed; a change must name the version it saw."""
    created_at: str = ""
    """ISO 8601, UTC."""
    by: str = ""
    """Who started it."""

    def __post_init__(self) -> None:
        check_text("run id", self.id)
        check_text("pool of a run", self.pool)
        check_one_of("run state", self.state, RUN_STATES)

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens in it."""
        return self.state in RUN_STATES[2:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One turn of a run, as a record."""

    run: str
    """Id of the run."""
    number: int
    """From 1, without gaps."""
    state: str = "selecting"
    budget: int
    """Labels to buy; 0 = none, it learns from those that a run inherited."""
    strategy: str
    """As spelled: ``NAME`` or ``NAME:key=value``; ``inherited`` where nothing is bought."""
    selected: tuple[SampleId, ...] = ()
    """Ids in order of rank; empty until selected."""
    receipt: str | None = None
    """Id of the receipt of the selection."""
    generation: str | None = None
    """Id of the generation that the round trained."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False
    """Whether it was closed, or budgeted, with fewer labels than a full round has."""
    closes_at: str | None = None
    """ISO 8601, UTC: when it stops waiting for labels; None = never by date."""
    quota: int | None = None
    """Answers at which it stops waiting; None = all that were selected."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else the engine has to remember of it; plain values."""
    version: int = 0
    """As of :class:`Run`."""
    reason: str = ""

    def __post_init__(self) -> None:
        check_text("run of a round", self.run)
        check_one_of("round state", self.state, ROUND_STATES)
        if self.number < 1:
            raise UsageError(f"rounds are numbered from 1, got {self.number!r}")
        if len(set(self.selected)) < len(self.selected):
            raise UsageError(f"round {self.number} of run {self.run}: a sample was selected twice")


def check_text(what: str, value: object) -> None:
    """Raise :class:`UsageError` unless a value is text that is not empty."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{what}: expected text, got {value!r}")


def check_one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` unless a value is one of those that are known."""
    if value not in known:
        raise UsageError(f"{what}: expected one of {', '.join(known)}, got {value!r}")
