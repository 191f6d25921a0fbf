"""How good class masks are: everything follows from one table of pixel counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foresift.core.errors import UsageError
from foresift.core.masks import IGNORED

Confusion = npt.NDArray[np.int64]
"""(c, c) pixel counts, [true][predicted]; ignored pixels are in none. Tables of parts add up to that of the whole."""


def confusion(predicted: Tensor, codes: Tensor, *, classes: int) -> Tensor:
    """(c, c) pixel counts, [true][predicted], on the device of the masks.

    Args:
        predicted: (...) class codes 0 .. c - 1.
        codes: (...) true codes, ``IGNORED`` where a pixel does not count.
    """
    counts = codes != IGNORED
    flat = codes[counts] * classes + predicted[counts]
    return torch.bincount(flat, minlength=classes**2).reshape(classes, classes)


def segmentation_metrics(counts: Confusion) -> dict[str, Any]:
    """Plain JSON values of a (c, c) table of pixel counts.

    ``miou`` is the mean of ``iou`` over the classes that occur in the truth; ``iou`` of a class is
    right / (true or predicted pixels of it), None where neither occurs; ``pixel_accuracy``;
    ``class_accuracy`` (right / true, None without true pixels); ``pixels`` (true ones, each class);
    ``confusion``.

    Raises:
        UsageError: not square, or not a single pixel counts.
    Source: Everingham et al. 2010, *The Pascal VOC Challenge*, for the intersection over union.
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.sum():
        raise UsageError(f"expected a square table of pixel counts that are not all zero, got shape {counts.shape}")
    right, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    union = true + predicted - right
    iou = [int(hit) / int(of) if of else None for hit, of in zip(right, union, strict=True)]
    present = [value for value, n in zip(iou, true, strict=True) if n and value is not None]
    return {
        "miou": sum(present) / len(present),
        "iou": iou,
        "pixel_accuracy": int(right.sum()) / int(counts.sum()),
        "class_accuracy": [int(hit) / int(n) if n else None for hit, n in zip(right, true, strict=True)],
        "pixels": true.tolist(),
        "confusion": counts.tolist(),
    }
