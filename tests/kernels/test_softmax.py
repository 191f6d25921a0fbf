from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foresift.core.errors import UsageError
from foresift.kernels.blocks import row_blocks
from foresift.kernels.softmax import FEW, NARROW, gaps_to_top, log_softmax, logsumexp, row_sums, softmax

WIDTHS = [1, 2, 10, NARROW, NARROW + 1, NARROW + 2, 200]
matrices = arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=st.floats(-1e4, 1e4))


@given(matrices)
def test_log_softmax_is_scipys(logits: np.ndarray[Any, Any]) -> None:
    expected = scipy.special.log_softmax(logits, axis=1)
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(logsumexp(logits), scipy.special.logsumexp(logits, axis=1), rtol=1e-12)


@given(matrices)
def test_softmax_rows_sum_to_one(logits: np.ndarray[Any, Any]) -> None:
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("width", WIDTHS)
def test_gaps_hold_every_class_but_the_top_one(width: int) -> None:
    logits = np.random.default_rng(0).integers(-3, 4, (50, width)).astype(np.float32)
    top, gaps = gaps_to_top(logits)
    assert gaps.shape == (50, width - 1)
    assert (gaps <= 0).all()
    together = np.sort(np.column_stack([top, gaps + top[:, None]]), axis=1)
    np.testing.assert_array_equal(together, np.sort(logits, axis=1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("width", WIDTHS)
def test_inputs_stay_as_they_were(dtype: type, width: int) -> None:
    logits = np.random.default_rng(0).normal(size=(20, width)).astype(dtype)
    before = logits.copy()
    gaps_to_top(logits)
    log_softmax(logits)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(("dtype", "working"), [(np.float16, "f4"), (np.float32, "f4"), (np.float64, "f8")])
def test_half_precision_is_worked_in_single_precision(dtype: type, working: str) -> None:
    assert log_softmax(np.zeros((2, 3), dtype=dtype)).dtype == np.dtype(working)


def test_the_largest_floats_do_not_overflow() -> None:
    largest = np.finfo(np.float32).max
    with np.errstate(all="raise", under="ignore"):
        probs = softmax(np.array([[largest, -largest, 0]], dtype=np.float32))
    assert probs.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("width", [0, *WIDTHS])
def test_row_sums_do_not_depend_on_the_rows_beside(width: int) -> None:
    for rows in (9, FEW + 1):
        terms = np.asfortranarray(np.random.default_rng(0).random((rows, width), dtype=np.float32))
        alone = [row_sums(terms[row : row + 1])[0] for row in range(rows)]
        assert row_sums(terms).tolist() == [value.item() for value in alone]


@pytest.mark.parametrize("width", WIDTHS)
def test_gaps_of_few_rows_are_those_of_many_bit_for_bit(width: int) -> None:
    logits = np.random.default_rng(width).normal(size=(FEW + 1, width)).round(1).astype(np.float32)
    logits[3, 0] = np.nan
    top, gaps = gaps_to_top(logits)
    for start in range(0, FEW + 1, 5):
        few, lower = gaps_to_top(logits[start : start + 5])
        assert few.tobytes() == top[start : start + 5].tobytes()
        assert np.ascontiguousarray(lower).tobytes() == np.ascontiguousarray(gaps[start : start + 5]).tobytes()


@pytest.mark.parametrize("shape", [(3, 0), (3,), (2, 2, 2)])
def test_logits_without_classes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="at least one class"):
        gaps_to_top(np.zeros(shape))


@given(st.integers(0, 100_000), st.integers(0, 5000))
def test_blocks_cover_every_row_once(n: int, width: int) -> None:
    blocks = list(row_blocks(n, width=width))
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks)][: len(blocks)]
    assert (blocks[-1][1] if blocks else 0) == n


@pytest.mark.parametrize("width", [3, 200])
def test_every_float16_is_read_as_it_is(width: int) -> None:
    finite = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = finite[np.isfinite(finite)]
    half = np.resize(finite, (-(-len(finite) // width), width))
    for laid_out in (half, np.asfortranarray(half), half[::-1]):
        expected = gaps_to_top(laid_out.astype(np.float32))
        for got, want in zip(gaps_to_top(laid_out), expected, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("width", [3, 200])
def test_nan_stays_in_its_row_beside_the_largest_floats(width: int) -> None:
    logits = np.zeros((4, width), dtype=np.float32)
    logits[1] = np.nan
    logits[2, :2] = np.finfo(np.float32).max, np.finfo(np.float32).min
    gaps = gaps_to_top(logits)[1]
    assert np.isfinite(gaps).all(axis=1).tolist() == [True, False, True, True]
