"""Greedy cover of a sparse graph against plain greedy on its matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_coverage import matrices, naive_greedy
from foresift.kernels.coverage import greedy_max_cover
from foresift.kernels.graphs import edges_where


@settings(deadline=None)
@given(matrices, st.booleans(), st.integers(1, 12))
def test_cover_on_a_graph_is_greedy_on_its_matrix(matrix: npt.NDArray[np.float64], some: bool, k: int) -> None:
    matrix, k = np.round(matrix), min(k, len(matrix))
    covered = matrix[0].astype(np.bool_) & some
    expected = naive_greedy(matrix, k, covered.astype(np.float64))
    found = greedy_max_cover(edges_where(matrix > 0), k, covered.copy())
    assert found.rows.tolist() == expected[: len(found.rows)]
    assert (found.gains > 0).all()
    reached = covered | matrix[found.rows].any(axis=0)
    assert found.gains.sum() == reached.sum() - covered.sum()
    if len(found.rows) < k:
        assert (reached == (covered | matrix.any(axis=0))).all()
