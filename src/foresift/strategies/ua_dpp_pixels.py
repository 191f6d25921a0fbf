"""Batches of images or patches that are diverse and uncertain at once, by what a model says of their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.queries import Query
from foresift.core.ranges import check_at_least, check_one_of
from foresift.scores.dense import PIXEL_SCORES
from foresift.selection.base import check_finite
from foresift.selection.registry import strategy
from foresift.strategies.aggregate import Aggregate
from foresift.strategies.ua_dpp import UaDpp


@strategy
@dataclass(frozen=True, kw_only=True)
class UaDppPixels(UaDpp):
    """Uncertainty-aware k-DPP over images or patches whose uncertainty is an aggregate of a score of their pixels.

    What ``ua-dpp`` becomes beside a segmentation model. ``form``, ``gamma`` and the rest are those of ``ua-dpp``.

    Args:
        score: entropy, least-confidence, margin or ratio of each pixel.
        by, patch, top: how scores of pixels become one of a unit, as for ``aggregate``.
        classes: of the model, by whose logarithm entropy is divided; 0 = by its largest value in the pool.
    Cost: that of ua-dpp and one read of the cells.
    Source: Neven and Goedemé 2022, section 4.2: u is the mean entropy of a patch's pixels, 4.3.2: of the top patches.
    """

    name: ClassVar[str] = "ua-dpp-pixels"
    aliases: ClassVar[tuple[str, ...]] = ()
    cite: ClassVar[str] = "Neven and Goedemé 2022, Eq. 3, sections 4.2 and 4.3.2"
    when: ClassVar[str] = "segmentation: uncertain images or patches wanted, without near copies (typed as ua-dpp)"
    needs: ClassVar[tuple[str, ...]] = ("patch-grid", "embeddings")
    by: str = "mean"
    patch: int = 64
    top: int = 4
    classes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of(PIXEL_SCORES, score=self.score)
        check_at_least(0, classes=self.classes)
        if self.classes == 1:
            raise UsageError(f"{self.name}: classes must be 2 or more, or 0 for not known, got 1")
        self._aggregate()

    def parameters_for(self, column: str) -> Mapping[str, Any]:
        """Of the cells the score: aggregates share the column."""
        return {"score": self.score} if column == "patch-grid" else {}

    def _aggregate(self) -> Aggregate:
        return Aggregate(score=self.score, by=self.by, patch=self.patch, top=self.top)

    def _uncertainty(self, query: Query) -> Values:
        """(n,) the aggregate of every candidate within 0 .. 1."""
        values = check_finite(self._aggregate().values(query), query, name=self.score)
        return self._scaled(values, values)

    def _of_labeled(self, query: Query) -> Values:
        """(m,) that of the labeled rows that have predictions; none where they don't condition."""
        if self.condition == "none" or "patch-grid" not in query.labeled_columns:
            return np.empty(0)
        values = self._aggregate().of_rows(query.labeled_columns["patch-grid"])
        return self._scaled(values, self._aggregate().values(query))

    def _scaled(self, values: Values, pool: Values) -> Values:
        if self.score != "entropy":
            return np.asarray(np.clip(values, 0.0, 1.0))
        most = np.log(self.classes) if self.classes else pool.max(initial=0.0)
        return np.asarray(np.clip(values / max(most, np.finfo(np.float64).tiny), 0.0, 1.0))
