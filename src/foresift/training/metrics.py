"""How good logits are against known labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from foresift.core.arrays import Logits
from foresift.core.errors import LabelError, UsageError

CALIBRATION_BINS = 15


def evaluate(logits: Logits, codes: npt.NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Plain JSON values: accuracy, calibration and loss of (n, c) logits against (n,) class codes.

    ``top1``, ``top5`` (top-c where c < 5), ``per_class`` (accuracy of each class, None without
    samples), ``ece``, ``cross_entropy`` (mean, nats), ``confusion`` ([true][predicted] counts), ``n``.

    ``ece`` is the expected calibration error of Guo et al. 2017, eq. 3: with 15 equal-width bins of
    the highest probability, the mean over samples of |accuracy - confidence| of the sample's bin.

    Raises:
        UsageError: no rows, or shapes that do not fit.
        LabelError: a code outside 0 .. c - 1.
    """
    rows, truth = _checked(logits, codes)
    classes = rows.shape[1]
    confusion = multiclass_confusion_matrix(rows, truth, num_classes=classes)
    return {
        "n": len(truth),
        "top1": _top(rows, truth, 1),
        "top5": _top(rows, truth, min(5, classes)),
        "per_class": _per_class(confusion),
        "ece": _calibration(rows, truth),
        "cross_entropy": float(functional.cross_entropy(rows, truth)),
        "confusion": confusion.tolist(),
    }


def _checked(logits: Logits, codes: npt.NDArray[np.integer[Any]]) -> tuple[Tensor, Tensor]:
    if logits.ndim != 2 or logits.shape[1] < 2 or codes.shape != logits.shape[:1] or not len(codes):
        raise UsageError(
            f"expected (n, c) logits of 2 or more classes and (n,) codes, got {logits.shape} and {codes.shape}"
        )
    if codes.min() < 0 or codes.max() >= logits.shape[1]:
        raise LabelError(f"class codes must be within 0 .. {logits.shape[1] - 1}; evaluate labeled rows only")
    # Double precision: a mean over a large pool keeps its digits.
    return torch.tensor(logits, dtype=torch.float64), torch.tensor(codes, dtype=torch.int64)


def _top(rows: Tensor, truth: Tensor, k: int) -> float:
    """Share of rows whose true class is among the k highest logits."""
    hits = (rows.topk(k, dim=1).indices == truth[:, None]).any(dim=1)
    return int(hits.sum()) / len(truth)


def _per_class(confusion: Tensor) -> list[float | None]:
    counts, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return [hit / n if n else None for hit, n in zip(right, counts, strict=True)]


def _calibration(rows: Tensor, truth: Tensor) -> float:
    probs = rows.softmax(1)
    value = multiclass_calibration_error(probs, truth, num_classes=rows.shape[1], n_bins=CALIBRATION_BINS)
    return float(value)
