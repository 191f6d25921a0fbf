"""Images, or patches of them, by the scores of their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.queries import Query
from foresift.core.ranges import check_at_least, check_one_of
from foresift.kernels.patch_grid import Cells, Grid, check_patch, maximum, mean, top_patches
from foresift.kernels.patch_rows import each_row
from foresift.scores.dense import PIXEL_SCORES
from foresift.selection.by_value import ByValue
from foresift.selection.registry import strategy

AGGREGATES = ("mean", "max", "top-patches")


@strategy
@dataclass(frozen=True, kw_only=True)
class Aggregate(ByValue):
    """The largest aggregates of a score of pixels: mean, maximum, or mean of the most informative patches.

    Another aggregate or score of the same images needs no new inference: all of them follow from the stored
    cells of 16 px. Pixels that are not valid never count.

    Args:
        score: entropy, least-confidence, margin or ratio of each pixel.
        by: ``mean`` and ``max`` over the valid pixels; ``top-patches``: the mean of the ``top`` largest means
            over patches of ``patch`` by ``patch`` pixels, those at the border over their own pixels.
        patch: side of the patches, a multiple of 16; read by ``top-patches`` only.
        top: how many of them; read by ``top-patches`` only.
    Cost: O(cells) an image, one block of them in memory.
    Source: Neven and Goedemé 2022, sections 4.2.1 (mean) and 4.3.2 (the four most uncertain patches of 64 px);
        Frickenstein et al. 2024 (mean).
    """

    name: ClassVar[str] = "aggregate"
    cite: ClassVar[str] = "Neven and Goedemé 2022, section 4.3.2; Frickenstein et al. 2024"
    cost: ClassVar[str] = "O(h w / 256) an image, one block of cells in memory"
    when: ClassVar[str] = "segmentation: whole images or patches, by what the model says of their pixels"
    needs: ClassVar[tuple[str, ...]] = ("patch-grid",)
    score: str = "entropy"
    by: str = "mean"
    patch: int = 64
    top: int = 4

    def __post_init__(self) -> None:
        check_one_of(PIXEL_SCORES, score=self.score)
        check_one_of(AGGREGATES, by=self.by)
        check_at_least(1, top=self.top)
        check_patch(self.patch)

    def parameters_for(self, column: str) -> Mapping[str, Any]:  # noqa: ARG002 - it needs one column only
        """The score: aggregates share the column."""
        return {"score": self.score}

    def values(self, query: Query) -> Values:
        """(n,) the aggregate of every candidate."""
        blocks = query.matrix("patch-grid").blocks()
        values = [self.of_rows(rows) for _, _, rows in blocks]
        return np.concatenate([np.empty(0), *values])

    def of_rows(self, packed: npt.NDArray[np.floating]) -> Values:
        """(n,) the aggregate of each row of a column ``patch-grid``."""
        return each_row(packed, self._value)

    def _value(self, cells: Cells) -> Grid:
        if self.by == "top-patches":
            return top_patches(cells, patch=self.patch, top=self.top)
        return mean(cells) if self.by == "mean" else maximum(cells)
