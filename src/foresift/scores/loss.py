"""The loss that a model really has: an upper bound for studies, not a strategy for the field."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Logits, Values
from foresift.core.errors import UsageError
from foresift.kernels.softmax import gaps_to_top, row_sums
from foresift.scores.registry import score


@score(
    "loss",
    needs=("logits", "truth"),
    cite="Frickenstein et al. 2024",
    when="studies only: it reads the labels of the candidates",
)
def loss(logits: Logits, truth: npt.NDArray[np.integer[Any]]) -> Values:
    """Cross-entropy of the true class in nats, within [0, infinity).

    Args:
        logits: (n, c), finite.
        truth: (n,) class codes within 0 .. c - 1.
    Raises:
        UsageError: a class code that the logits have no column for.
    Source: Frickenstein et al. 2024, the true loss; logsumexp(z) - z_y, summed as
        (max z - z_y) + log(1 + rest) so that small losses stay precise.
    """
    codes = np.asarray(truth)
    c = logits.shape[-1]
    if codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= c):
        raise UsageError(f"loss needs true class codes within 0 .. {c - 1}, got {codes.min()} .. {codes.max()}")
    top, gaps = gaps_to_top(logits)
    of_truth = logits[np.arange(len(codes)), codes].astype(top.dtype)
    return np.asarray((top - of_truth) + np.log1p(row_sums(np.exp(gaps))))
