"""Scores of every pixel, by the very formulas that score samples: a pixel is a row of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.scores.registry import SCORES

PIXEL_SCORES = ("entropy", "least-confidence", "margin", "ratio")
"""What a pass over images keeps of each pixel, in this order."""


def score_map(name: str, logits: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
    """(h, w) scores of (c, h, w) logits, or (b, h, w) of (b, c, h, w); higher = more informative.

    Args:
        name: a score that needs nothing but logits.
        logits: finite; 2 classes or more where the score compares two.
    Raises:
        UsageError: another shape, or a score that needs more.
    Cost: that of the score for h w rows; one block of pixels in memory beside the result.
    """
    score = SCORES.get(name)
    if score.needs != ("logits",):
        raise UsageError(f"a score of pixels must need logits only; {score.name} needs {', '.join(score.needs)}")
    if logits.ndim == 4:
        return np.stack([score_map(name, image) for image in logits])
    if logits.ndim != 3:
        raise UsageError(f"dense logits must have shape (c, h, w) or (b, c, h, w), got {logits.shape}")
    classes, height, width = logits.shape
    pixels = logits.reshape(classes, height * width).T
    return score(pixels).reshape(height, width)
