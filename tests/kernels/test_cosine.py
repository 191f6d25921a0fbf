"""Cosine neighbours against a naive float64 definition, duplicates and zero rows among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.matrices import RowMatrix
from foresift.kernels import cosine
from foresift.kernels.cosine import near_pairs, nearer_than, unit_rows


def distance(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not x.any() or not y.any():
        return float(x.any() != y.any())
    return float(1 - x @ y / (np.sqrt(x @ x) * np.sqrt(y @ y)))


def naive(rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32], limit: float) -> list[list[bool]]:
    return [[distance(a, b) < limit for b in others] for a in rows]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 20),
    m=st.integers(0, 20),
    d=st.integers(1, 6),
    limit=st.floats(1e-6, 2),
    seed=st.integers(0, 999),
)
def test_pairs_are_those_of_the_definition(n: int, m: int, d: int, limit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, size=(n, d)).astype(np.float32) * rng.choice([1e-20, 1, 1e15], size=(n, 1)).astype("f4")
    others = rng.integers(-2, 3, size=(m, d)).astype(np.float32)
    expected = np.array(naive(rows, others, limit), dtype=bool).reshape(n, m)
    on_the_limit = np.array([abs(distance(a, b) - limit) < 1e-12 for a in rows for b in others]).reshape(n, m)
    assert (near_pairs(rows, others, limit) == expected)[~on_the_limit.astype(bool)].all()
    whole = nearer_than(RowMatrix(array=rows), RowMatrix(array=others), limit)
    if not on_the_limit.any():
        assert whole.tolist() == expected.any(axis=1).tolist()


@pytest.mark.parametrize("limit", [1e-9, 1e-7, 1e-3])
def test_copies_are_near_however_small_the_limit(limit: float) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 37)).astype(np.float32) + 50
    assert nearer_than(RowMatrix(array=rows), RowMatrix(array=rows[::-1]), limit).all()
    assert np.diag(near_pairs(rows, rows, limit)).all()
    assert near_pairs(rows, 3 * rows, 1e-6).diagonal().all()  # rounded after scaling


def test_the_limit_itself_is_decided_in_float64() -> None:
    rows = np.array([[1, 0]], dtype=np.float32)
    for gap in (0.3 - 1e-7, 0.3 + 1e-7):  # float32 has no more than 6e-8 between numbers of this size
        angle = np.arccos(1 - gap)
        other = np.array([[np.cos(angle), np.sin(angle)]], dtype=np.float32)
        truth = distance(rows[0], other[0]) < 0.3
        assert near_pairs(rows, other, 0.3).tolist() == [[truth]]
        assert nearer_than(RowMatrix(array=rows), RowMatrix(array=other), 0.3).tolist() == [truth]


def test_a_row_of_zeros_is_near_to_rows_of_zeros_alone() -> None:
    rows = np.array([[0, 0], [1, 1], [0, 0]], dtype=np.float32)
    assert near_pairs(rows, rows, 0.5).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    np.testing.assert_allclose(np.linalg.norm(unit_rows(rows), axis=1), 1)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows, others = rng.normal(size=(500, 5)).astype(np.float32), rng.normal(size=(70, 5)).astype(np.float32)
    expected = nearer_than(RowMatrix(array=rows), RowMatrix(array=others), 0.05)
    assert 0 < expected.sum() < 500
    monkeypatch.setattr("foresift.core.matrices.BLOCK_BYTES", 1)
    monkeypatch.setattr(cosine, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr("foresift.kernels.blocks.BLOCK_ELEMENTS", 1)
    halves = RowMatrix(array=rows.astype(np.float32)), RowMatrix(array=others)
    assert nearer_than(*halves, 0.05).tolist() == expected.tolist()
