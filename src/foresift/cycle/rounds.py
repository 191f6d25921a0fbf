"""One turn of a run as a state machine whose every effect may be repeated: select, label, train, done."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from foresift.core.errors import StaleError
from foresift.core.records import RunRecords
from foresift.core.rounds import Round, SampleId


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """What a round asks labels for."""

    ids: tuple[SampleId, ...]
    """In order of rank, at most the round's budget, which may be 0; fewer only if the pool ends."""
    receipt: str | None = None
    closes_at: str | None = None
    """ISO 8601, UTC: when the round stops waiting for labels; None = never by date."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What has been answered so far."""

    closed: bool
    """Whether the round need not wait any longer."""
    answers: int
    """Of this round's samples."""
    labels: int
    """That the round's model will be trained on, those of earlier rounds included."""
    key: str = ""
    """Names exactly these labels, which are kept under it: a training repeated later learns from the same ones."""
    reason: str = ""
    """Why the round closed."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model and how good it is."""

    generation: str | None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


class Ports(Protocol):
    """The effects of a round. Each may be called again at any time, after a crash or by another worker at once.

    Whatever one raises leaves the round as it was.
    """

    def select(self, round: Round) -> Picked:
        """What to label; the same for the same round, whenever it is asked."""
        ...

    def gather(self, round: Round) -> Gathered:
        """Ask for the answers that are missing, and take those that are there; never waits."""
        ...

    def train(self, round: Round) -> Trained:
        """The model of the labels of ``round.details["labels"]``, trained now or found, and its evaluation."""
        ...


def advance(records: RunRecords, round: Round, ports: Ports) -> Round:
    """The round one state further, or as it is while answers are missing; idempotent.

    Returns:
        the stored round. If somebody else moved it meanwhile, what he stored: the effects were the same.
    Raises:
        Whatever the ports raise; the stored round is as it was then.
    """
    if (changed := _STEPS[round.state](round, ports)) is None:
        return round
    try:
        return records.change_round(changed)
    except StaleError:
        return records.rounds(round.run)[round.number - 1]


def _select(round: Round, ports: Ports) -> Round:
    """Nothing to label is the end of a round, unless it was to buy nothing and learn from what is there."""
    picked = ports.select(round)
    return replace(
        round,
        state="labeling" if picked.ids or not round.budget else "done",
        selected=picked.ids,
        receipt=picked.receipt,
        closes_at=picked.closes_at,
        partial=len(picked.ids) < round.budget,
        details={**round.details, **picked.details},
    )


def _label(round: Round, ports: Ports) -> Round | None:
    gathered = ports.gather(round)
    if not gathered.closed:
        return None
    early = gathered.answers < len(round.selected)
    return replace(
        round,
        state="training",
        partial=round.partial or early,
        reason=gathered.reason if early else "",
        details={
            **round.details,
            **gathered.details,
            "labels": gathered.key,
            "answers": gathered.answers,
            "trained_on": gathered.labels,
        },
    )


def _train(round: Round, ports: Ports) -> Round:
    trained = ports.train(round)
    return replace(
        round,
        state="done",
        generation=trained.generation,
        metrics=trained.metrics,
        details={**round.details, **trained.details},
    )


_STEPS: Mapping[str, Callable[[Round, Ports], Round | None]] = {
    "selecting": _select,
    "labeling": _label,
    "training": _train,
    "done": lambda _round, _ports: None,
}
