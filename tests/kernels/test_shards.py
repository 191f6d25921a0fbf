"""Reductions over shards against one pass over all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels.shards import Gram, merge_grams
from foresift.kernels.topk import merge_top_k, top_k_by_id

CUTS = st.lists(st.integers(0, 40), max_size=6).map(lambda cuts: sorted({0, *cuts, 40}))


def rows(n: int = 40, d: int = 5) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((n, d)) + 3).astype(np.float32)


def parts(cuts: list[int]) -> list[slice]:
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


@settings(max_examples=40, deadline=None)
@given(cuts=CUTS, seed=st.integers(0, 99))
def test_a_gram_of_shards_is_that_of_all_rows_in_whatever_order_they_come(cuts: list[int], seed: int) -> None:
    X = rows()
    given_parts = [Gram.of(RowMatrix(array=X[part]), shard=shard) for shard, part in enumerate(parts(cuts))]
    whole = merge_grams(given_parts)
    wide = X.astype(np.float64)
    np.testing.assert_allclose(whole.products, sum(np.outer(x, x) for x in wide), rtol=1e-12)
    centred = wide - wide.mean(axis=0)
    np.testing.assert_allclose(whole.scatter, centred.T @ centred, rtol=1e-10, atol=1e-9)
    assert whole.n == 40
    shuffled = [given_parts[at] for at in np.random.default_rng(seed).permutation(len(given_parts))]
    assert merge_grams(shuffled).products.tobytes() == whole.products.tobytes()


def test_leverage_of_a_shard_against_the_whole_is_that_of_the_whole() -> None:
    X = rows()
    whole = Gram.of(RowMatrix(array=X))
    wide = X.astype(np.float64)
    inverse = np.linalg.inv(wide.T @ wide + 0.5 * np.eye(5))
    expected = [x @ inverse @ x for x in wide]
    got = np.concatenate([whole.leverage(RowMatrix(array=part), ridge=0.5) for part in (X[:13], X[13:])])
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert whole.leverage(RowMatrix(array=X[:0]), ridge=0.5).shape == (0,)


@pytest.mark.parametrize("shards", [[], [0, 0]])
def test_parts_that_are_none_or_twice_are_refused(shards: list[int]) -> None:
    with pytest.raises(UsageError, match="different shards"):
        merge_grams([Gram.of(RowMatrix(array=rows()), shard=shard) for shard in shards])


@settings(max_examples=40, deadline=None)
@given(cuts=CUTS, k=st.integers(0, 45), values=st.lists(st.integers(0, 5), min_size=40, max_size=40))
def test_the_top_of_shards_is_the_top_of_all(cuts: list[int], k: int, values: list[int]) -> None:
    ids, scores = np.arange(40)[::-1].copy(), np.array(values, dtype=np.float64)
    best = [top_k_by_id(ids[part], scores[part], k) for part in parts(cuts)]
    shards = [(ids[part][top], scores[part][top]) for part, top in zip(parts(cuts), best, strict=True)]
    expected = sorted(range(40), key=lambda row: (-scores[row], ids[row]))[:k]
    assert merge_top_k(shards, k)[0].tolist() == ids[expected].tolist()
