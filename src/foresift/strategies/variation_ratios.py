"""The samples on which most members of an ensemble vote against the most frequent class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.scores.ensemble import mutual_information, variation_ratios
from foresift.selection.base import Strategy, check_finite
from foresift.selection.registry import strategy

TIES = ("mi", "seeded")


@strategy
@dataclass(frozen=True, kw_only=True)
class VariationRatios(Strategy):
    """The k largest variation ratios; of equal ones those with more mutual information, or any.

    e members give at most e different values, so that with few members most of the pool ties.

    Attributes:
        tie: ``mi`` puts more mutual information first, then the lower id; ``seeded`` leaves it to
            chance, as in the source: each candidate draws a 64-bit key from the seed.
    Cost: O(n (c + log n)) time, O(n) memory beside a block of rows.
    Source: Chitta et al. 2019, eq. 2-6 (V); the choice by mutual information is ours.
    """

    name: ClassVar[str] = "variation-ratios"
    cite: ClassVar[str] = variation_ratios.cite
    cost: ClassVar[str] = "O(n (c + log n)) time, O(n) memory"
    when: ClassVar[str] = "many members, votes to be trusted more than probabilities"
    needs: ClassVar[tuple[str, ...]] = variation_ratios.needs
    prefix: ClassVar[bool] = True
    tie: str = "mi"

    def __post_init__(self) -> None:
        if self.tie not in TIES:
            raise UsageError(f"tie must be {' or '.join(TIES)}, got {self.tie!r}")

    def values(self, query: Query) -> Values:
        """(n,) the variation ratio of every candidate; what breaks their ties is left out."""
        return variation_ratios.over(len(query), query.block)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The k best rows with their variation ratios."""
        values = check_finite(self.values(query), query, name=self.name)
        second = _disagreement(query) if self.tie == "mi" else _chance(query, rng)
        rows = np.lexsort((second, -values))[: query.budget]
        return Picks(rows=rows, scores=values[rows])


def _disagreement(query: Query) -> npt.NDArray[np.floating]:
    """(n,) minus the mutual information: in ascending order the most comes first, equal ones by row."""
    return -check_finite(mutual_information.over(len(query), query.block), query, name=mutual_information.name)


def _chance(query: Query, rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    keys: npt.NDArray[np.uint64] = rng.bit_generator.random_raw(len(query))
    return keys
