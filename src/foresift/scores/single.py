"""Scores of one row of logits in plain Python: where frames are decided one by one, calls of NumPy cost ten times more.

The formulas are those of :mod:`foresift.scores.uncertainty`, in float64; the two agree to the rounding of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import mul

MOST_CLASSES = 64
"""Above, arrays are faster."""


def _entropy(gaps: Sequence[float], weights: Sequence[float]) -> float:
    rest, weighted = sum(weights), math.fsum(map(mul, gaps, weights))
    return math.log1p(rest) - weighted / (1 + rest)


def _least_confidence(_gaps: Sequence[float], weights: Sequence[float]) -> float:
    rest = sum(weights)
    return rest / (1 + rest)


def _margin(_gaps: Sequence[float], weights: Sequence[float]) -> float:
    rest = sum(weights)
    return (rest + max(weights)) / (1 + rest)


def _ratio(_gaps: Sequence[float], weights: Sequence[float]) -> float:
    return max(weights)


SINGLE: Mapping[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "entropy": _entropy,
    "least-confidence": _least_confidence,
    "margin": _margin,
    "ratio": _ratio,
}
"""(gaps to the largest logit, their exponentials), both without the largest one itself -> score."""


def score_of_row(name: str, logits: Sequence[float]) -> float:
    """The score of one row of 2 .. ``MOST_CLASSES`` logits; NaN where one of them is not finite.

    Args:
        name: a key of ``SINGLE``.
    """
    if not math.isfinite(sum(logits)):
        return math.nan
    others = list(logits)
    top = max(others)
    others.remove(top)
    gaps = [logit - top for logit in others]
    return SINGLE[name](gaps, [math.exp(gap) for gap in gaps])
