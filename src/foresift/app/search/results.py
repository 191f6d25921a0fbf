"""What came of a search: stages, transfer, plain values of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foresift.app.search.transfer import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A subset and how well models learn from it."""

    size: int
    share: float
    """Of the samples that are not held out."""
    manifest: str
    accuracy: float
    """Of the members' mean probability on the held-out samples, within [0, 1]."""
    single: tuple[float, ...]
    """Of the last epoch of each run alone."""
    members: int
    approx: str = ""
    """What is approximate about how the subset was chosen; empty where every member ranked."""
    early_stop: Mapping[str, Any] = field(default_factory=dict)
    """Where a rule was given: the rule, how many members ranked the samples, what the rule saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A whole search."""

    folder: Path
    scheme: str
    score: str
    stages: tuple[Stage, ...]
    trainable: int
    held_out: int
    notes: tuple[str, ...] = ()
    transfer: tuple[Transfer, ...] = ()
    """The last subset on other architectures, where some were named."""
    resumed: bool = False
    """Whether nothing was left to do."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        tried = [one.to_dict() for one in self.transfer]
        return {**asdict(self), "folder": str(self.folder), "transfer": tried}


def stage_of(plain: Mapping[str, Any]) -> Stage:
    """Inverse of ``dataclasses.asdict``."""
    return Stage(**{**plain, "single": tuple(plain["single"])})
