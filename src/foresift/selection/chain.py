"""Strategies one after the other: each stage keeps the best of its own picks for the next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.core.registry import parse_spec
from foresift.selection.base import Strategy
from foresift.selection.contract import check_picks
from foresift.selection.registry import STRATEGIES, parse


@dataclass(frozen=True, kw_only=True)
class Chain(Strategy):
    """``margin:keep=5000+k-center``: the last stage picks among what the stages before it kept.

    Every stage but the last has ``keep=N`` candidates, or ``keep=Nx``, N times the budget; more
    than there are keeps all. Labeled rows condition every stage that reads them.

    Cost: the sum of the stages', each over what it sees.
    """

    stages: tuple[Strategy, ...]
    keeps: tuple[str, ...]
    """One for each stage but the last."""

    cite: ClassVar[str] = "prefiltering by a score before a diverse choice, as in Zhdanov 2019"

    def __post_init__(self) -> None:
        if len(self.stages) < 2 or len(self.keeps) != len(self.stages) - 1:
            raise UsageError(f"a chain has two stages or more, and keep= in all but the last; got {self.spelled()}")
        for stage in self.stages[:-1]:
            if "keep" in (f.name for f in fields(stage)):
                raise UsageError(f"strategy {stage.name} has a keep of its own; it can only be the last of a chain")
        for keep in self.keeps:
            if not re.fullmatch(r"0*[1-9]\d*x?", keep):
                raise UsageError(f"keep must be a number of candidates, or like 10x the budget, got {keep!r}")
        self._declare(
            name="+".join(stage.name for stage in self.stages),
            needs=tuple(dict.fromkeys(name for stage in self.stages for name in stage.needs)),
            uses=tuple(dict.fromkeys(name for stage in self.stages for name in stage.uses)),
            prefix=self.stages[-1].prefix and not any(keep.endswith("x") for keep in self.keeps),
        )

    def check_budget(self, budget: int) -> None:
        """Refuse a budget above what a stage keeps."""
        for stage, keep in zip(self.stages, self.keeps, strict=False):
            if kept(keep, budget=budget) < budget:
                raise UsageError(
                    f"stage {stage.name} of {self.spelled()} keeps {keep} candidates, fewer than the budget"
                    f" of {budget}; give keep={budget} or more"
                )
        for stage in self.stages:
            stage.check_budget(budget)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The last stage's picks; ``details`` say what every stage did."""
        word = int(rng.bit_generator.random_raw())
        filtered = list(self._filtered(query, word))
        rows = filtered[-1][2]
        done = [_record(stage, picks, kept=len(left)) for stage, picks, left in filtered]
        last = _stage_generator(word, len(self.keeps), self.stages[-1])
        picks = _stage_picks(self.stages[-1], query, rows, query.budget, last)
        done.append(_record(self.stages[-1], picks, kept=query.budget))
        return Picks(
            rows=rows[picks.rows],
            scores=picks.scores,
            solver="+".join(stage["solver"] for stage in done),
            approx="; ".join(f"{stage['stage']}: {stage['approx']}" for stage in done if stage["approx"]),
            details={"stages": done},
        )

    def kept_by_stage(self, query: Query, rng: np.random.Generator) -> list[tuple[str, Rows]]:
        """What every stage but the last kept."""
        word = int(rng.bit_generator.random_raw())
        return [(stage.name, rows) for stage, _, rows in self._filtered(query, word)]

    def _filtered(self, query: Query, word: int) -> Iterator[tuple[Strategy, Picks, Rows]]:
        """Every stage but the last, its picks, and the ascending rows of the query that they are."""
        rows = np.arange(len(query), dtype=np.intp)
        for place, (stage, keep) in enumerate(zip(self.stages, self.keeps, strict=False)):
            size = min(kept(keep, budget=query.budget), len(rows))
            if size < query.budget:
                self.check_budget(query.budget)
            picks = _stage_picks(stage, query, rows, size, _stage_generator(word, place, stage))
            rows = np.sort(rows[picks.rows])
            yield stage, picks, rows

    def spelled(self) -> str:
        """Every stage with every parameter, ``keep`` first, joined by ``+``."""
        stages = [_with_keep(s.spelled(), keep) for s, keep in zip(self.stages, self.keeps, strict=False)]
        return "+".join([*stages, self.stages[-1].spelled()])

    def parameters_for(self, column: str) -> Mapping[str, Any]:
        """Those of the stages that need the column.

        Raises:
            UsageError: two stages need it with different parameters.
        """
        merged: dict[str, Any] = {}
        for stage in self.stages:
            own = stage.parameters_for(column) if column in stage.needs else {}
            for name in own:
                if merged.setdefault(name, own[name]) != own[name]:
                    raise UsageError(f"two stages of {self.spelled()} need {column} with another {name}; give one")
        return merged

    @classmethod
    def from_spelling(cls, spec: str) -> Strategy:
        """Inverse of :meth:`spelled`."""
        return parse(spec)


def chain(stages: Sequence[str], *, spec: str) -> Chain:
    """The chain of the given spellings.

    Raises:
        UsageError: a stage is empty, or one before the last says not how many it keeps.
    """
    if any(not stage.strip() for stage in stages):
        raise UsageError(f"{spec!r}: a stage is missing beside a plus; expected NAME:keep=N+NAME")
    parts = [_without_keep(stage, spec=spec) for stage in stages[:-1]]
    strategies = (*(parse(stage) for stage, _ in parts), parse(stages[-1]))
    return Chain(stages=strategies, keeps=tuple(keep for _, keep in parts))


def kept(keep: str, *, budget: int) -> int:
    """How many candidates ``5000`` or ``10x`` keeps."""
    return int(keep[:-1]) * budget if keep.endswith("x") else int(keep)


def _without_keep(stage: str, *, spec: str) -> tuple[str, str]:
    name, parameters = parse_spec(stage)
    keep = parameters.pop("keep", "")
    if not keep:
        STRATEGIES.canonical(name)  # a name that nobody knows is the likelier mistake
        raise UsageError(f"{spec!r}: stage {name} must say how many candidates it keeps, {name}:keep=N")
    pairs = ",".join(f"{key}={value}" for key, value in parameters.items())
    return (f"{name}:{pairs}" if pairs else name), keep.lstrip("0") or keep


def _with_keep(spelled: str, keep: str) -> str:
    name, _, pairs = spelled.partition(":")
    return f"{name}:keep={keep},{pairs}" if pairs else f"{name}:keep={keep}"


def _stage_picks(stage: Strategy, query: Query, rows: Rows, budget: int, rng: np.random.Generator) -> Picks:
    seen = query.seen_by(stage.needs, stage.uses).among(rows, budget=budget)
    picks = stage.pick(seen, rng)
    check_picks(picks, seen, name=stage.name)
    return picks


def _stage_generator(word: int, place: int, stage: Strategy) -> np.random.Generator:
    """A stage's own numbers, whatever the stages before it drew."""
    words = [word, place, int.from_bytes(stage.name.encode(), "little")]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def _record(stage: Strategy, picks: Picks, *, kept: int) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "kept": kept,
        "solver": picks.solver,
        "approx": picks.approx,
        "details": dict(picks.details),
    }
