from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.kernels.topk import merge_top_k, top_k, top_k_by_id

few_values = st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5, 1e30, -np.inf, np.inf]), max_size=40)
any_values = st.lists(st.floats(allow_nan=False, width=32), max_size=40)


def slow(values: list[float], k: int) -> list[int]:
    return [row for _, row in sorted((-value, row) for row, value in enumerate(values))][:k]


@given(st.one_of(few_values, any_values), st.data())
def test_top_k_is_the_sorted_tuples(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values)))
    assert top_k(np.array(values), k).tolist() == slow(values, k)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint64])
def test_top_k_of_every_kind_of_number(dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 9, 200).astype(dtype)
    assert top_k(values, 50).tolist() == slow(values.tolist(), 50)


def test_ties_at_the_cut_go_to_the_lower_row() -> None:
    assert top_k(np.array([1.0, 2.0, 1.0, 1.0, 2.0]), 3).tolist() == [1, 4, 0]


def test_top_k_by_id_breaks_ties_by_id() -> None:
    ids = np.array(["c", "a", "d", "b"])
    assert ids[top_k_by_id(ids, np.array([1.0, 1.0, 2.0, 1.0]), 3)].tolist() == ["d", "a", "b"]


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 1.0]), min_size=1),
    st.integers(0, 12),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_merging_shards_gives_the_top_k_of_the_union(
    scored: dict[str, float], k: int, parts: int, random: object
) -> None:
    names = sorted(scored)
    random.shuffle(names)  # type: ignore[attr-defined]
    ids, values = np.array(names), np.array([scored[name] for name in names])
    shards = [np.arange(part, len(ids), parts) for part in range(parts)]
    best = [rows[top_k_by_id(ids[rows], values[rows], k)] for rows in shards]
    merged_ids, merged_values = merge_top_k([(ids[rows], values[rows]) for rows in best], k)
    expected = sorted((-value, name) for name, value in scored.items())[:k]
    assert list(zip((-merged_values).tolist(), merged_ids.tolist(), strict=True)) == expected


def test_merging_nothing_gives_nothing() -> None:
    ids, values = merge_top_k([], 3)
    assert len(ids) == len(values) == 0
