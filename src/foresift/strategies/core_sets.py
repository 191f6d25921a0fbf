"""A pool in parts: a core-set of each by another strategy, and from all core-sets together the picks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.selection.base import Strategy
from foresift.selection.contract import check_picks
from foresift.selection.inner import approximations, inner_strategy, spelled_within
from foresift.selection.registry import strategy

GUARANTEES = {"k-center": "a covering radius at most 4 times the smallest"}
"""What is proven of picks from core-sets."""


@strategy
@dataclass(frozen=True, kw_only=True)
class CoreSets(Strategy):
    """Each shard of the pool gives k candidates by the inner strategy; it then picks k of these.

    Shards are stretches of the candidates in order of id, which for content digests is a fixed random order. Labeled
    rows condition every shard and the last step. Unlike top-k and sums, this is no exact merge: the receipt says
    ``approx``. For k-center the covering radius is at most 4 times the smallest possible one: each shard's greedy
    radius is at most 2 times it, and so is that of the last step over the core-sets. There are no more
    shards than leave each with more than k candidates; with one, the inner strategy sees all of the pool and nothing
    is approximated.

    Cost: the inner strategy's on n / shards candidates, shards times, and once on shards x k.
    Source: Indyk et al. 2014, composable core-sets; Malkomes et al. 2015, theorem 1 (k-center).
    """

    of: str = "k-center"
    """The inner strategy, ``NAME`` or ``NAME/key=value/...``."""
    shards: int = 8

    name: ClassVar[str] = "core-sets"
    cite: ClassVar[str] = "Indyk et al. 2014; Malkomes et al. 2015"
    cost: ClassVar[str] = "that of the inner strategy on n / shards candidates, shards times, and on shards x k"
    when: ClassVar[str] = "the pool is too large for the inner strategy at once; approximate"

    def __post_init__(self) -> None:
        inner = inner_strategy(self.of)
        if self.shards < 1:
            raise UsageError(f"shards must be 1 or more, got {self.shards}")
        object.__setattr__(self, "of", spelled_within(inner))
        self._declare(needs=inner.needs, uses=inner.uses)

    @property
    def inner(self) -> Strategy:
        """The strategy that chooses."""
        return inner_strategy(self.of)

    def parameters_for(self, column: str) -> Mapping[str, Any]:
        """Those of the inner strategy."""
        return self.inner.parameters_for(column)

    def check_budget(self, budget: int) -> None:
        """As the inner strategy."""
        self.inner.check_budget(budget)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """k rows in the inner strategy's order; ``details`` say how many candidates the core-sets held."""
        inner, word = self.inner, int(rng.bit_generator.random_raw())
        parts = _stretches(len(query), min(self.shards, max(1, len(query) // (query.budget + 1))))
        answers: list[Picks] = []
        union = np.arange(len(query), dtype=np.intp)
        if len(parts) > 1:
            for number, part in enumerate(parts):
                answers.append(_picked(inner, query, part, word, number + 1))
            union = np.sort(np.concatenate([part[one.rows] for part, one in zip(parts, answers, strict=True)]))
        last = _picked(inner, query, union, word, 0)
        return Picks(
            rows=union[last.rows],
            scores=last.scores,
            solver=last.solver,
            approx="; ".join(filter(None, [_flag(inner, len(parts)), approximations([*answers, last])])),
            details={"shards": len(parts), "in_core_sets": len(union)},
        )


def _stretches(n: int, shards: int) -> list[Rows]:
    return [part for part in np.array_split(np.arange(n, dtype=np.intp), shards) if len(part)]


def _picked(inner: Strategy, query: Query, part: Rows, word: int, number: int) -> Picks:
    seen = query.seen_by(inner.needs, inner.uses).among(part, budget=min(query.budget, len(part)))
    words = [word, number, int.from_bytes(inner.name.encode(), "little")]
    picks = inner.pick(seen, np.random.Generator(np.random.PCG64(np.random.SeedSequence(words))))
    check_picks(picks, seen, name=inner.name)
    return picks


def _flag(inner: Strategy, shards: int) -> str:
    if shards == 1:
        return ""
    return f"core-sets of {shards} shards: {GUARANTEES.get(inner.name, 'no guarantee')}"
