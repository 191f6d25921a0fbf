from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.arrays import as_ids, first_duplicate, first_nonfinite_row, is_ascending
from foresift.core.digests import DIGEST_CHARS, canonical_json, digest_array, digest_bytes, digest_ids, digest_value
from foresift.core.errors import UsageError

texts = st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5), max_size=8)


def test_a_digest_is_a_cut_sha256() -> None:
    assert digest_bytes(b"x") == hashlib.sha256(b"x").hexdigest()[:DIGEST_CHARS]


def test_values_digest_by_content_and_not_by_order_of_keys() -> None:
    assert digest_value({"a": 1, "b": [2.5, None]}) == digest_value({"b": [2.5, None], "a": 1})
    assert digest_value({"a": 1}) != digest_value({"a": 2})
    assert canonical_json({"b": "é", "a": 1}) == '{"a":1,"b":"é"}'
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_value(math.nan)


def test_array_digests_see_contents_dtype_and_shape() -> None:
    array = np.arange(6, dtype=np.float32)
    digests = {digest_array(a) for a in (array, array.reshape(2, 3), array.astype(np.float64), array[::-1])}
    assert len(digests) == 4
    assert digest_array(np.asfortranarray(array.reshape(2, 3))) == digest_array(array.reshape(2, 3))


def test_array_digests_read_rows_in_the_order_asked_for() -> None:
    array, rows = np.arange(12).reshape(4, 3), np.array([2, 0, 3, 1])
    assert digest_array(array, rows=rows) == digest_array(array[rows])


def test_large_arrays_digest_block_by_block() -> None:
    array = np.arange(5 << 20, dtype=np.float64)
    whole = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    assert digest_array(array) == whole.hexdigest()[:DIGEST_CHARS]


@given(texts, texts, st.integers(0, 30))
def test_ids_digest_by_text_and_not_by_width(one: list[str], other: list[str], wider: int) -> None:
    a, b = as_ids(one), as_ids(other)
    assert (digest_ids(a) == digest_ids(b)) == (one == other)
    assert digest_ids(a.astype(f"U{a.dtype.itemsize // 4 + wider}")) == digest_ids(a)


def test_integer_ids_and_text_ids_differ() -> None:
    assert digest_ids(as_ids([1, 2])) != digest_ids(as_ids(["1", "2"]))


def test_ids_are_integers_or_text() -> None:
    assert as_ids(np.array([3], dtype=np.uint8)).dtype == np.int64
    assert as_ids([1, "a"]).tolist() == ["1", "a"]
    assert not as_ids(["a"]).flags.writeable
    with pytest.raises(UsageError, match="one-dimensional"):
        as_ids([[1]])


@pytest.mark.parametrize(
    "ids",
    [
        [2**63, 1],
        [2**63, -1],
        [2**70, 1],
        [np.uint64(2**63), np.int64(-1)],
        np.array([2**63, 1], dtype=np.uint64),
    ],
)
def test_integers_beyond_64_bits_become_the_text_of_their_digits(ids: list[int]) -> None:
    assert as_ids(ids).tolist() == [str(int(value)) for value in ids]


def test_unsigned_integers_that_fit_stay_integers() -> None:
    ids = np.array([2**63 - 1, 0], dtype=np.uint64)
    assert as_ids(ids).dtype == np.int64
    assert as_ids(ids).tolist() == [2**63 - 1, 0]
    assert as_ids(ids[:0]).dtype == np.int64


def test_floats_become_text() -> None:
    assert as_ids([1, 2.5]).tolist() == ["1.0", "2.5"]
    assert as_ids([]).dtype.kind == "U"


@given(st.lists(st.integers(0, 9), max_size=8))
def test_duplicates_and_order_are_found(ids: list[int]) -> None:
    array = as_ids(ids) if ids else np.empty(0, dtype=np.int64)
    twice = sorted(value for value in set(ids) if ids.count(value) > 1)
    assert first_duplicate(array) == (twice[0] if twice else None)
    assert is_ascending(array) == (sorted(set(ids)) == ids)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_found(bad: float) -> None:
    values = np.zeros((10, 3))
    assert first_nonfinite_row(values, block=4) is None
    values[5, 2] = values[7, 0] = bad
    assert first_nonfinite_row(values, block=4) == 5
