"""Softmax and what scores need of it, from logits, without cancellation or overflow.

Everything is expressed by gaps to the largest logit, ``g_j = z_j - max z <= 0``. With
``rest = sum of e^g over the others`` the largest probability is ``1 / (1 + rest)``, so
that ``1 - p1 = rest / (1 + rest)`` keeps its relative precision when p1 approaches 1.

float16 and float32 logits are worked in float32, float64 in float64. A row's result
depends on that row alone, bit for bit: not on the rows beside it, nor on how many.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Logits, Values
from foresift.core.errors import UsageError
from foresift.kernels.blocks import row_blocks

NARROW = 32
"""Up to this many columns a loop over columns beats reductions along rows."""
FEW = 64
"""Up to this many rows the calls of such a loop cost more than what they do."""


def softmax(logits: Logits) -> npt.NDArray[np.floating[Any]]:
    """(n, c) probabilities; rows sum to 1. O(n c) time, one block of memory beside the result."""
    return np.asarray(np.exp(log_softmax(logits)))


def log_softmax(logits: Logits) -> npt.NDArray[np.floating[Any]]:
    """(n, c) log probabilities, each <= 0. O(n c) time, one block of memory beside the result.

    Args:
        logits: (n, c), c >= 1, finite; float16, float32 or float64.
    """
    n, c = logits.shape
    result = np.empty((n, c), dtype=working_dtype(logits))
    for start, stop in row_blocks(n, width=c):
        block = logits[start:stop]
        top, gaps = gaps_to_top(block)
        log_sum = np.log1p(row_sums(np.exp(gaps)))
        result[start:stop] = _below(block.astype(result.dtype), top) - log_sum[:, None]
    return result


def logsumexp(logits: Logits) -> Values:
    """(n,) log of the sum of e^z over each row of one block; no overflow."""
    top, gaps = gaps_to_top(logits)
    return top + np.log1p(row_sums(np.exp(gaps)))


def gaps_to_top(logits: Logits) -> tuple[Values, npt.NDArray[np.floating[Any]]]:
    """The largest logit of each row, and how far the others lie below it.

    Args:
        logits: (n, c), c >= 1; one block of rows.
    Returns:
        (n,) top and (n, c - 1) gaps <= 0, one for each class but the top one, in some
        order that depends on the row alone.
    Raises:
        UsageError: c = 0.
    """
    if logits.ndim != 2 or logits.shape[1] < 1:
        raise UsageError(f"logits must have shape (n, c) with at least one class, got {logits.shape}")
    split = _split_by_columns if logits.shape[1] - 1 <= NARROW else _split_by_rows
    top, z = split(logits)
    return top, _below(z, top)[:, 1:]


def row_sums(terms: npt.NDArray[np.floating[Any]]) -> Values:
    """(n,) sum of each row of (n, w) terms, w >= 0, in an order that does not depend on n."""
    if terms.shape[1] > NARROW:
        by_rows = terms if terms.strides[1] == terms.itemsize else np.ascontiguousarray(terms)
        return np.asarray(by_rows.sum(axis=1))
    if len(terms) <= FEW and terms.shape[1]:
        return np.asarray(np.add.accumulate(terms, axis=1)[:, -1] + 0.0)  # the same order, in one call; no -0
    total = np.zeros(len(terms), dtype=terms.dtype)
    for column in terms.T:
        total += column
    return total


def working_dtype(logits: Logits) -> np.dtype[Any]:
    """float32 for float16 and float32 logits, float64 for float64."""
    return np.promote_types(logits.dtype, np.float32)


def _split_by_columns(logits: Logits) -> tuple[Values, npt.NDArray[np.floating[Any]]]:
    """A running maximum over columns: each but the first keeps what lost. For few classes."""
    if len(logits) <= FEW:
        return _split_few(logits)
    z = np.array(logits, dtype=working_dtype(logits), order="F")
    top = z[:, 0].copy()
    for column in z.T[1:]:
        loser = np.minimum(top, column)
        np.maximum(top, column, out=top)
        column[...] = loser
    return top, z


def _split_few(logits: Logits) -> tuple[Values, npt.NDArray[np.floating[Any]]]:
    """What the loop over columns gives, bit for bit, in three calls: for the few rows that a device sees at once."""
    z = np.array(logits, dtype=working_dtype(logits), order="C")
    tops = np.maximum.accumulate(z, axis=1)
    np.minimum(tops[:, :-1], z[:, 1:], out=z[:, 1:])
    return tops[:, -1], z


def _split_by_rows(logits: Logits) -> tuple[Values, npt.NDArray[np.floating[Any]]]:
    """The first class moves to where the top one was; all but the first remain. For many classes."""
    z = _copied(logits)
    rows, best = np.arange(len(z)), z.argmax(axis=1)
    top = z[rows, best]
    z[rows, best] = z[:, 0]
    return top, z


def _copied(logits: Logits) -> npt.NDArray[np.floating[Any]]:
    """A copy by rows in the working dtype; float16 by table, twice as fast as by conversion."""
    if logits.dtype != np.float16:
        return np.array(logits, dtype=working_dtype(logits), order="C")
    bits = np.ascontiguousarray(logits).view(np.uint16)
    return np.take(_every_half(), bits, mode="clip")  # no index is out of range: clip skips the check


@cache
def _every_half() -> npt.NDArray[np.float32]:
    """(65536,) each float16 by its bits, as float32."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def _below(z: npt.NDArray[np.floating[Any]], top: Values) -> npt.NDArray[np.floating[Any]]:
    lowest = np.finfo(z.dtype).min
    with np.errstate(over="ignore"):  # -3e38 - 3e38: made finite again below, so that nothing is infinity * 0
        np.subtract(z, top[:, None], out=z)
    if not z.min(initial=0) > lowest:
        np.maximum(z, lowest, out=z)
    return z
