"""Checksums notice every change of one number, and those of several that a plain sum would miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.stores.checksums import row_sums


def slow(row: np.ndarray) -> int:
    """The definition, in Python's integers."""
    weights = np.random.default_rng(20_220_501).integers(0, 1 << 64, size=len(row), dtype=np.uint64)
    words = np.frombuffer(row.tobytes(), dtype=np.uint32)
    pairs = zip(words.tolist(), weights.tolist(), strict=True)
    return (0x9E3779B97F4A7C15 + sum(word * (weight | 1) for word, weight in pairs)) % 2**64


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (5, 3), (7, 512)])
def test_sums_are_those_of_the_definition(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert row_sums(matrix).tolist() == [slow(row) for row in matrix]
    assert row_sums(np.asfortranarray(matrix)).tolist() == row_sums(matrix).tolist()


@given(column=st.integers(0, 15), bit=st.integers(0, 31), other=st.integers(0, 15))
def test_flipped_bits_are_noticed(column: int, bit: int, other: int) -> None:
    matrix = np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32)
    harmed = matrix.copy()
    for at in {column, other}:  # two equal bits cancel in a sum without weights, two signs modulo 2^32
        harmed.view(np.uint32)[0, at] ^= np.uint32(1 << bit)
    assert row_sums(harmed) != row_sums(matrix)


def test_zeros_do_not_fit_a_checksum_of_zero() -> None:
    assert row_sums(np.zeros((2, 8), dtype=np.float32)).all()
