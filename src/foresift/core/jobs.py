"""Work that outlives its process: jobs, what happened in them, and who may work on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foresift.core.rounds import check_one_of, check_text

JOB_STATES = ("queued", "running", "cancelling", "done", "failed", "cancelled")
"""The last three are ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request that some worker carries out, as a record."""

    id: str
    kind: str
    """What is to be done: ``run``, ``predict``, ..."""
    request: Mapping[str, Any] = field(default_factory=dict)
    state: str = "queued"
    progress: Mapping[str, Any] = field(default_factory=dict)
    """How far it is; plain values."""
    answer: Mapping[str, Any] = field(default_factory=dict)
    """What it gave; plain values."""
    reason: str = ""
    """Why it is in that state, for people."""
    holder: str = ""
    """The worker that has it; "" while nobody has."""
    version: int = 0
    """How often the stored record has been changed; a change must name the version it saw."""
    at: str = ""
    """When it was asked for: ISO 8601, UTC."""

    def __post_init__(self) -> None:
        check_text("job id", self.id)
        check_text("kind of a job", self.kind)
        check_one_of("job state", self.state, JOB_STATES)

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens in it."""
        return self.state in JOB_STATES[3:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run or a job; never changed, never removed while its run is kept."""

    run: str
    """Id of the run or job."""
    kind: str
    at: str = ""
    """ISO 8601, UTC, by the clock of whoever tells; the order of events is that of ``number``."""
    values: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    """From 1, without gaps in its run; given by the store."""

    def __post_init__(self) -> None:
        check_text("run of an event", self.run)
        check_text("kind of an event", self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on something for a while; given by the store, whose clock alone decides."""

    key: str
    """What may be worked on, such as ``run/ID``."""
    holder: str
    """Who may: one name a worker, never used by two."""
    until: float
    """When it ends, in seconds of the store's clock; means nothing to any other clock."""
    token: int
    """Grows with every holder of the key: of two who believe they hold it, the larger is right."""
