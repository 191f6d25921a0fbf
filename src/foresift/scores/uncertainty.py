"""How unsure one model is of a sample: entropy, least confidence, margin, ratio.

With two classes all four give the same ranking.
"""

from __future__ import annotations

import numpy as np

from foresift.core.arrays import Logits, Values
from foresift.core.errors import UsageError
from foresift.kernels.softmax import gaps_to_top, row_sums
from foresift.scores.registry import score


@score(
    "entropy",
    aliases=("EntropySampling",),
    cite="Shannon 1948; Frickenstein et al. 2024, eq. 1",
    when="a well-trained model, and the whole distribution matters; outliers rank high",
)
def entropy(logits: Logits) -> Values:
    """Shannon entropy of softmax(logits) in nats, within [0, log c]; one class gives 0.

    Both terms are sums of non-negative numbers, so the result is never below 0 and stays
    precise where one probability approaches 1.

    Args:
        logits: (n, c), finite.
    Source: Shannon 1948. Frickenstein et al. 2024, eq. 1 says "entropy of the logits",
        which is read as entropy of their softmax.
    """
    _, gaps = gaps_to_top(logits)
    weights = np.exp(gaps)
    rest = row_sums(weights)
    np.multiply(gaps, weights, out=weights)
    return np.asarray(np.log1p(rest) - row_sums(weights) / (1 + rest))


@score(
    "least-confidence",
    aliases=("LeastConfidence",),
    cite="Lewis and Gale 1994",
    when="a well-trained model; like margin but blind to the runner-up",
)
def least_confidence(logits: Logits) -> Values:
    """One minus the largest probability, within [0, 1 - 1/c]; one class gives 0.

    It is computed as rest / (1 + rest), the sum of the other probabilities, and not as a
    difference: samples keep their order however close the largest probability is to 1.

    Args:
        logits: (n, c), finite.
    Source: Lewis and Gale 1994.
    """
    _, gaps = gaps_to_top(logits)
    rest = row_sums(np.exp(gaps, out=gaps))
    return np.asarray(rest / (1 + rest))


@score(
    "margin",
    aliases=("MarginConfidence",),
    cite="Scheffer et al. 2001",
    when="the first choice once a few labels of every class are there",
)
def margin(logits: Logits) -> Values:
    """One minus the gap between the two largest probabilities, within [0, 1].

    Args:
        logits: (n, c), c >= 2, finite.
    Raises:
        UsageError: fewer than two classes.
    Source: Scheffer et al. 2001; 1 - (p1 - p2), computed without a difference of probabilities.
    """
    _, gaps = gaps_to_top(_two_classes(logits, name="margin"))
    weights = np.exp(gaps, out=gaps)
    rest = row_sums(weights)
    return np.asarray((rest + weights.max(axis=1)) / (1 + rest))


@score(
    "ratio",
    aliases=("RatioConfidence",),
    cite="Monarch 2021; Huang et al. 2022",
    when="as margin, where confident samples must still be told apart",
)
def ratio(logits: Logits) -> Values:
    """Second largest over largest probability, within [0, 1].

    Its inverse, p1 / p2, is usual elsewhere and overflows; below e^-103 (float32) it is 0.

    Args:
        logits: (n, c), c >= 2, finite.
    Raises:
        UsageError: fewer than two classes.
    Source: Huang et al. 2022 list it; p2 / p1 = e^(z2 - z1).
    """
    _, gaps = gaps_to_top(_two_classes(logits, name="ratio"))
    return np.asarray(np.exp(gaps.max(axis=1)))


def _two_classes(logits: Logits, *, name: str) -> Logits:
    if logits.ndim == 2 and logits.shape[1] == 1:
        raise UsageError(f"{name} compares the two most probable classes; the logits have one class only")
    return logits
