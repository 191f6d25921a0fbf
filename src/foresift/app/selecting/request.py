"""What a selection is asked for, whatever kind of pool it is from, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from foresift.app.passes.stored import PassOptions, PassResult
from foresift.app.selecting.guarding import Limits
from foresift.core.queries import Selection
from foresift.core.samples import Quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to select; the same for every kind of pool."""

    strategy: str
    budget: int
    labeled: Path | None = None
    """A file of ids or uris that are labeled already."""
    seed: int = 0
    allow_short: bool = False
    out: Path | None = None
    limits: Limits = field(default_factory=Limits)
    """What must not be picked."""
    control: float = 0.0
    """Share of the budget that is drawn at random."""
    checkpoints: str = ""
    """``all`` or ``last=N``: the kept checkpoints of the one model, as the members of an ensemble."""
    draws: int | None = None
    """Dropout passes of the one model, for strategies that need members."""
    early_stop: str = ""
    """The rule by which further members of an ensemble are left out; empty = all are heard."""
    options: PassOptions = field(default_factory=PassOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A selection and what there is to know about the pool it came from."""

    selection: Selection
    receipt_path: Path
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    result: PassResult | None = None
