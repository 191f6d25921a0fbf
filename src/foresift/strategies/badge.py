"""BADGE: uncertain and diverse at once, by D^2 sampling of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.d2_sampling import d2_sample
from foresift.kernels.gradient_embedding import Factor, GradientPoints, TopClasses, gradient_factor
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class Badge(Strategy):
    """D^2 sampling of the gradients that the predicted labels would cause in the last layer.

    A gradient is long where the model is unsure, and two gradients are far apart where the samples
    differ; the first pick has the longest one, each further pick is drawn in proportion to its squared
    distance to the nearest pick. Gradients that are all equal leave a uniform draw.

    Args:
        bias: count the gradient in the last layer's bias too.
        top_classes: keep that many entries of p - e_y a row; None keeps all, which is exact.
    Cost: O(n (c + d) k) time in about k / 64 passes, O(n (c + d)) memory; the floor is one read of
        4 n (c + d) bytes and 2 n (c + d) k operations.
    Source: Ash et al. 2020, algorithm 1; the first pick as in the authors' code. The factors as in
        Zhang et al. 2023 (LabelBench), appendix D; picks are proposed in batches and accepted by
        rejection, which leaves the law of the picks as it is.
    """

    name: ClassVar[str] = "badge"
    aliases: ClassVar[tuple[str, ...]] = ("BadgeSampling",)
    cite: ClassVar[str] = "Ash et al. 2020"
    cost: ClassVar[str] = "O(n (c + d) k) time, O(n (c + d)) memory"
    when: ClassVar[str] = "a trained classifier and batches of tens or more; no parameter to tune"
    needs: ClassVar[tuple[str, ...]] = ("logits", "embeddings")

    bias: bool = False
    top_classes: int | None = None

    def __post_init__(self) -> None:
        if self.top_classes is not None and self.top_classes < 2:
            raise UsageError(f"top_classes must be 2 or more, or none, got {self.top_classes}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The longest gradient first, the others in the order of their draws."""
        factor, approx, details = self._factor(query)
        points = GradientPoints(factor, query.matrix("embeddings"), bias=self.bias)
        first = int(np.argmax(points.squared_norms))
        rows = d2_sample(points, first, query.budget, rng)
        return Picks(rows=rows, solver="d2-rejection", approx=approx, details=details)

    def _factor(self, query: Query) -> tuple[Factor, str, dict[str, Any]]:
        logits = query.matrix("logits")
        if self.top_classes is None or self.top_classes >= logits.width:
            return gradient_factor(logits), "", {}
        top = TopClasses(logits, self.top_classes)
        approx = (
            f"gradients keep {self.top_classes} of {logits.width} classes; "
            f"no row loses more than {top.dropped:.2g} of its squared length"
        )
        return top, approx, {"dropped": top.dropped}
