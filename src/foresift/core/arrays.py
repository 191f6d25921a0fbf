"""Array types and the few rules that every array of ids obeys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError

Ids: TypeAlias = npt.NDArray[Any]
"""(n,) sample ids: strings, or integers when the user's ids are integers."""
Values: TypeAlias = npt.NDArray[np.floating[Any]]
"""(n,) one number a sample; higher = more informative."""
Logits: TypeAlias = npt.NDArray[np.floating[Any]]
"""(n, c) before softmax."""
Embeddings: TypeAlias = npt.NDArray[np.floating[Any]]
"""(n, d) penultimate activations."""
Rows: TypeAlias = npt.NDArray[np.intp]
"""(k,) row indices."""
Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(h, w, 3) RGB, or (b, h, w, 3) for a batch."""


def as_ids(ids: Sequence[Any] | npt.NDArray[Any]) -> Ids:
    """Read-only ids: integers stay integers, everything else becomes text.

    Integers are those of 64 bits with a sign. If one does not fit, all become the text of their
    digits; floats become text as NumPy writes them.

    Raises:
        UsageError: ids are not one-dimensional.
    """
    array = np.asarray(ids)
    if array.ndim != 1:
        raise UsageError(f"ids must be one-dimensional, got shape {array.shape}")
    if array.dtype.kind == "f" and all(isinstance(value, int | np.integer) for value in ids):
        # NumPy's common type of a negative integer and one above 2^63 is a float, which rounds both.
        array = np.array([str(value) for value in ids], dtype=np.str_)
    array = array.astype(np.int64) if _fits_int64(array) else array.astype(np.str_)
    array.flags.writeable = False
    return array


def _fits_int64(array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind == "u":
        return not array.size or bool(array.max() <= np.iinfo(np.int64).max)
    return array.dtype.kind == "i"


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view of ``array``; the caller's own array stays writable."""
    view = array.view()
    view.flags.writeable = False
    return view


def is_ascending(ids: Ids) -> bool:
    """Whether the ids are in strictly ascending order, hence distinct; O(n)."""
    return bool((ids[1:] > ids[:-1]).all())


def first_duplicate(ids: Ids) -> Any | None:
    """The smallest id that occurs twice, or None; O(n) when ascending, else O(n log n)."""
    if is_ascending(ids):
        return None
    ordered = np.sort(ids)
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    return ordered[same[0]].item() if same.size else None


def first_nonfinite_row(values: npt.NDArray[Any], *, block: int = 1 << 22) -> int | None:
    """Index of the first row that holds NaN or infinity, or None; O(n) time, ``block`` elements of memory.

    Of a structured array all fields are looked at; what holds no floating-point number is finite.
    """
    if values.dtype.names is not None:
        found = [first_nonfinite_row(values[name], block=block) for name in values.dtype.names]
        return min((row for row in found if row is not None), default=None)
    if values.dtype.kind not in "fc":
        return None
    step = max(1, block // max(1, values[:1].size))
    for start in range(0, len(values), step):
        chunk = values[start : start + step]
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None
