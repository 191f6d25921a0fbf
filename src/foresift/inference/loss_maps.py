"""The loss that a segmentation model's own module predicts for an image in its own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import NonFiniteError
from foresift.core.registry import spell
from foresift.inference.dense import normalised
from foresift.inference.dense_columns import DenseSubject
from foresift.inference.dense_pass import Made, Scorer
from foresift.inference.tiles import Span, check_tiles, windows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossMapSubject:
    """The segmentation model that the pass looks at."""

    dense: DenseSubject
    predict: Callable[[Tensor], Tensor]
    """(b, 3, h, w) normalised images of any size -> (b, h', w') predicted losses of cells, which cover the image."""
    cell: int
    """Side of a cell in pixels, a divisor of 16."""


@dataclass(frozen=True, kw_only=True)
class PredictedLossMap:
    """The mean over an image of the loss that is predicted for each place of it; only its order means something.

    Cost: one forward pass.
    Source: Frickenstein et al. 2024, eq. 2, after Yoo and Kweon 2019.
    """

    name: ClassVar[str] = "predicted-loss-map"
    tile: int = 1024
    overlap: int = 256

    def __post_init__(self) -> None:
        check_tiles(self.tile, self.overlap)

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        return spell(self.name, self)

    def scorer(self, subject: LossMapSubject) -> Scorer:
        """What makes the row of an image: one value."""

        def made(pixels: Pixels) -> Made:
            seen = subject.dense.resize(pixels)
            total = sum(self._sums(subject, seen))
            mean = np.array([total / (seen.shape[0] * seen.shape[1])], dtype=np.float32)
            return Made(pixels.shape[0], pixels.shape[1], mean)

        return made

    def _sums(self, subject: LossMapSubject, pixels: Pixels) -> Iterator[float]:
        """Of each window: the sum over the pixels that are kept of it, each with its cell's predicted loss."""
        import torch

        for window in windows(*pixels.shape[:2], tile=self.tile, overlap=self.overlap):
            rows, columns = window.rows, window.columns
            part = pixels[rows.start : rows.stop, columns.start : columns.stop]
            with torch.inference_mode():
                found = subject.predict(normalised(part, subject.dense))[0].double()
            if not bool(found.isfinite().all()):
                raise NonFiniteError("the predicted losses are not finite; the model's weights are broken: train again")
            losses: npt.NDArray[np.float64] = found.cpu().numpy()
            down, across = (
                _kept(span, count, subject.cell) for span, count in zip((rows, columns), losses.shape, strict=True)
            )
            yield float(down @ losses @ across)


def _kept(span: Span, count: int, side: int) -> npt.NDArray[np.int64]:
    """(count,) how many pixels of each cell along a side are kept of a window; 0 in the padding."""
    edges = np.clip(span.start + np.arange(count + 1) * side, span.keep_from, span.keep_to)
    return np.diff(edges)
