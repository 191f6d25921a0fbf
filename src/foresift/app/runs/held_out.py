"""Which samples a run is measured on and never trained on."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids
from foresift.core.samples import Pool

_SHARE = 5
"""One in so many is held out."""


def held_out(ids: Ids, rows: npt.NDArray[np.intp]) -> list[int]:
    """A fifth of ``rows``: those whose ids have the smallest digests, whatever the order and the rest of the pool."""
    by_digest = sorted(rows.tolist(), key=lambda row: _digest(ids[row].item()))
    return by_digest[: (len(rows) + _SHARE // 2) // _SHARE]


def left_to_choose(pool: Pool, evaluation: Pool) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """(n,) whether each sample may be chosen beside an evaluation set, and what to know of those that may not."""
    shared = _among(pool, evaluation)
    if not shared.any():
        return ~shared, []
    return ~shared, [f"{int(shared.sum())} images are in the evaluation set as well; they are never chosen"]


def _among(pool: Pool, others: Pool) -> npt.NDArray[np.bool_]:
    """(n,) whether each sample is in another pool, by its id or its bytes."""
    ids, digests = set(others.ids.tolist()), set(others.digests.tolist()) - {""}
    both = zip(pool.ids.tolist(), pool.digests.tolist(), strict=True)
    return np.fromiter((one in ids or digest in digests for one, digest in both), dtype=bool, count=len(pool))


def _digest(sample: Any) -> bytes:
    return hashlib.sha256(f"foresift evaluation\n{sample}".encode("utf-8", "surrogateescape")).digest()
