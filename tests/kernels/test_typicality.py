"""Mean distances to neighbours against a double loop."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.matrices import RowMatrix
from foresift.kernels.typicality import mean_neighbour_distance


@pytest.mark.parametrize("neighbours", [1, 5])
@pytest.mark.parametrize("share", [1, 3])
def test_means_are_those_of_a_double_loop(neighbours: int, share: int) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype("f4") + 100
    among = np.arange(0, 60, share)
    got = mean_neighbour_distance(RowMatrix(array=rows), neighbours, among)
    for row in range(60):
        distances = sorted(np.linalg.norm(rows[row].astype(float) - rows[j]) for j in among.tolist() if j != row)
        assert got[row] == pytest.approx(np.mean(distances[:neighbours]), rel=1e-4)


def test_without_neighbours_and_with_copies_means_are_0() -> None:
    rows = RowMatrix(array=np.ones((9, 3), dtype="f4"))
    assert not mean_neighbour_distance(rows, 0, np.arange(9)).any()
    assert not mean_neighbour_distance(rows, 4, np.arange(9)).any()
