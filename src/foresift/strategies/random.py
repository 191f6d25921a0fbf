"""The baseline that every other strategy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foresift.core.queries import Picks, Query
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class Random(Strategy):
    """Every candidate equally likely, without replacement; a larger budget extends a smaller one.

    Each candidate draws a 64-bit key and the smallest keys win: NumPy guarantees the
    stream of raw bits for ever, that of ``permutation`` only for a release.

    Cost: O(n + k log k) time, O(n) memory.
    """

    name: ClassVar[str] = "random"
    aliases: ClassVar[tuple[str, ...]] = ("RandomSampling",)
    cite: ClassVar[str] = "simple random sampling without replacement"
    cost: ClassVar[str] = "O(n + k log k) time, O(n) memory"
    when: ClassVar[str] = "always, as the control: what does not beat it is not worth its cost"
    prefix: ClassVar[bool] = True

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The rows with the k smallest keys; no scores."""
        keys = rng.bit_generator.random_raw(len(query))
        return Picks(rows=top_k(~keys, query.budget))
