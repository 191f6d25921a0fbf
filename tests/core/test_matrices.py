"""A matrix in blocks gives the rows of the array it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.matrices import BLOCK_BYTES, RowMatrix


@pytest.mark.parametrize("rows", [None, [4, 5, 6], [6, 2, 2, 9], []])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_way_to_read_gives_the_same_rows(rows: list[int] | None, dtype: type) -> None:
    array = np.random.default_rng(0).normal(size=(10, 3)).astype(dtype)
    chosen = None if rows is None else np.array(rows, dtype=np.intp)
    matrix = RowMatrix(array=array, rows=chosen)
    expected = array.astype(np.float32) if rows is None else array[rows].astype(np.float32)
    n = len(expected)
    assert (len(matrix), matrix.width) == (n, 3)
    np.testing.assert_array_equal(matrix.whole(), expected)
    np.testing.assert_array_equal(matrix.block(1, 3), expected[1:3])
    some = np.arange(n)[::-2]
    np.testing.assert_array_equal(matrix.take(some), expected[some])
    np.testing.assert_array_equal(matrix.subset(some).whole(), expected[some])
    assert matrix.whole().dtype == matrix.take(some).dtype == np.float32


def test_blocks_cover_every_row_once() -> None:
    width = BLOCK_BYTES // 4 // 100
    array = np.arange(250)[:, None] * np.ones((1, width), dtype=np.float32)
    seen = [block[:, 0] for _, _, block in RowMatrix(array=array).blocks()]
    assert len(seen) > 1
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(250))
