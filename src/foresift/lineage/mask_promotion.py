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
    degrees: float
    """Of freedom, of the interval and the test."""
    rarest: int
    """Code of the class in the fewest images, of those whose IoU the models differ in; 0 where they differ in none."""
    showing: int
    """Images with that class; n where they differ in none."""

    @property
    def difference(self) -> float:
        """Challenger minus holder."""
        return self.challenger - self.holder

    @property
    def beats(self) -> bool:
        """Whether the whole interval lies above 0, and there are images enough, also of the rarest class."""
        return self.showing >= LEAST and self.low > 0


def mean_iou(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(...) mean intersection over union of (..., 3, c) right, true and predicted pixels, over classes that occur."""
    occurring = (counts[..., 1, :] > 0).sum(axis=-1)
    mean: npt.NDArray[np.float64] = _class_iou(counts).sum(axis=-1) / np.maximum(occurring, 1)
    return mean


def mask_duel(challenger: ClassCounts, holder: ClassCounts, *, level: float = 0.95) -> MaskDuel:
    """Compare two models by the mIoU of the same images, which vary together: image i is left out of both or of none.

    The standard error is the jackknife's over images, the interval Student's. A class in few images decides by these
    alone, however many others there are: its k images are worth k_eff = (sum of pixels)^2 / sum of squared pixels,
    which is k if they show as much of it each, and the degrees of freedom are the least k_eff - 1 of the classes that
    the models differ in. A class that occurs in one image only leaves the mean with it, which widens the interval.

    Args:
        challenger, holder: what each model got of every image; the true pixels are the same.
        level: of the interval, within (0, 1).
    Raises:
        DataError: fewer than two images, or not the same ones.
    Cost: O(n c) time and memory.
    Source: Tukey 1958; Efron and Tibshirani 1993, section 11; k_eff: Kish 1965.
    """
    n = len(challenger)
    if challenger.shape != holder.shape or not np.array_equal(challenger[:, 1], holder[:, 1]):
        raise DataError(f"expected the same images for both models, got {challenger.shape} and {holder.shape}")
    if n < 2:
        raise DataError(f"{n} image says nothing of how much models differ by chance; expected {LEAST} or more")
    mine, theirs = (_with_each_left_out(one) for one in (challenger, holder))
    differences = mean_iou(mine) - mean_iou(theirs)
    found, without = float(differences[0]), differences[1:]
    error = float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    differing = (_class_iou(mine) != _class_iou(theirs)).any(axis=0)
    showing = np.where(differing, (challenger[:, 1] > 0).sum(axis=0), n)
    degrees = max(float(np.where(differing, _worth(challenger[:, 1]), n).min()) - 1, 1.0)
    margin = float(student.ppf((1 + level) / 2, degrees)) * error
    return MaskDuel(
        n=n,
        challenger=float(mean_iou(mine[0])),
        holder=float(mean_iou(theirs[0])),
        low=found - margin,
        high=found + margin,
        p=2 * float(student.sf(abs(found) / error, degrees)) if error else float(found == 0),
        degrees=degrees,
        rarest=int(showing.argmin()),
        showing=int(showing.min()),
    )


def _with_each_left_out(counts: ClassCounts) -> npt.NDArray[np.int64]:
    """(n + 1, 3, c) pixels of all images together, then of all but the first, all but the second, ..."""
    whole = counts.sum(axis=0)
    return np.concatenate([whole[None], whole - counts])


def _class_iou(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(..., c) intersection over union of each class, of (..., 3, c) pixels; 0 where it does not occur."""
    right, true, predicted = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    return np.where(true > 0, right / np.maximum(true + predicted - right, 1), 0.0)


def _worth(true: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(c,) how many images with equally many pixels of a class those of (n, c) pixels are worth; 0 without any."""
    pixels = true.astype(np.float64)
    worth: npt.NDArray[np.float64] = pixels.sum(axis=0) ** 2 / np.maximum(np.square(pixels).sum(axis=0), 1)
    return worth
