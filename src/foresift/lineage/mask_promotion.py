"""Is one segmentation model better than another on the same images: the difference of their mIoU, and its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from foresift.core.errors import DataError
from foresift.core.masks import ClassCounts

LEAST = 6
"""Images without which nothing is decided at 5 %: of five, all may speak for one of two equal models by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskDuel:
    """Two segmentation models on the same n images."""

    n: int
    challenger: float
    """Mean intersections over union, within [0, 1]."""
    holder: float
    low: float
    """95 % interval of the difference, challenger minus holder."""
    high: float
    p: float
    """Of the test that the difference is 0, two-sided."""

    @property
    def difference(self) -> float:
        """Challenger minus holder."""
        return self.challenger - self.holder

    @property
    def beats(self) -> bool:
        """Whether the whole interval lies above 0, and there are images enough."""
        return self.n >= LEAST and self.low > 0


def mean_iou(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(...) mean intersection over union of (..., 3, c) right, true and predicted pixels, over classes that occur."""
    right, true, predicted = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    there = true > 0
    iou = np.where(there, right / np.maximum(true + predicted - right, 1), 0.0)
    mean: npt.NDArray[np.float64] = iou.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)
    return mean


def mask_duel(challenger: ClassCounts, holder: ClassCounts, *, level: float = 0.95) -> MaskDuel:
    """Compare two models by the mIoU of the same images, which vary together: image i is left out of both or of none.

    The standard error is the jackknife's over images, the interval Student's with n - 1 degrees of freedom. A class
    that occurs in one image only leaves the mean with it, which widens the interval.

    Args:
        challenger, holder: what each model got of every image; the true pixels are the same.
        level: of the interval, within (0, 1).
    Raises:
        DataError: fewer than two images, or not the same ones.
    Cost: O(n c) time and memory.
    Source: Tukey 1958; Efron and Tibshirani 1993, section 11.
    """
    n = len(challenger)
    if challenger.shape != holder.shape or not np.array_equal(challenger[:, 1], holder[:, 1]):
        raise DataError(f"expected the same images for both models, got {challenger.shape} and {holder.shape}")
    if n < 2:
        raise DataError(f"{n} image says nothing of how much models differ by chance; expected {LEAST} or more")
    mine, theirs = (float(mean_iou(one.sum(axis=0))) for one in (challenger, holder))
    without = mean_iou(challenger.sum(axis=0) - challenger) - mean_iou(holder.sum(axis=0) - holder)
    error = float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    margin = float(student.ppf((1 + level) / 2, n - 1)) * error
    found = mine - theirs
    chance = 2 * float(student.sf(abs(found) / error, n - 1)) if error else float(found == 0)
    return MaskDuel(n=n, challenger=mine, holder=theirs, low=found - margin, high=found + margin, p=chance)
