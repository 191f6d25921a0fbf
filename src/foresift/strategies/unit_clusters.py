"""One of each cluster of the candidates that a method lets through, by direction; the rest at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks
from foresift.kernels.cosine import unit_rows
from foresift.kernels.kmeans import representatives


def unit_matrix(matrix: RowMatrix) -> RowMatrix:
    """(n, d + 1) rows of length 1, held as float32 where that fits memory, else as float16."""
    dtype = np.float32 if matrix.fits_memory else np.float16
    units = np.empty((len(matrix), matrix.width + 1), dtype=dtype)
    for start, stop, rows in matrix.blocks():
        units[start:stop] = unit_rows(rows)
    return RowMatrix(array=units)


def one_of_each(
    embeddings: RowMatrix, let_through: Rows, budget: int, rng: np.random.Generator, details: Mapping[str, Any]
) -> Picks:
    """The candidates nearest to ``budget`` k-means centres of those let through, on rows of length 1.

    Fewer than the budget are all taken, and the others drawn without replacement; ``details`` counts both.

    Args:
        embeddings: (n, d) all candidates.
        let_through: ascending rows.
        budget: 1 .. n.
        details: what else the receipt should keep.
    """
    at_random = max(0, budget - len(let_through))
    counts = {**details, "let_through": len(let_through), "at_random": at_random}
    if at_random:
        rest = rng.permutation(_others(len(embeddings), let_through))[:at_random]
        return Picks(rows=np.concatenate([let_through, rest]), solver="all-and-random", details=counts)
    chosen = representatives(unit_matrix(embeddings.subset(let_through)), budget, rng)
    return Picks(rows=let_through[chosen.rows], solver=chosen.solver, approx=chosen.approx, details=counts)


def _others(n: int, rows: Rows) -> npt.NDArray[np.intp]:
    keep = np.ones(n, dtype=np.bool_)
    keep[rows] = False
    return np.flatnonzero(keep)
