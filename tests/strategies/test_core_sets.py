"""Core-sets of shards: exact with one shard, within their theorem with more, and always said."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.strategies import parse, spelling
from foresift.testing import check_strategy


def pool(points: np.ndarray) -> Predictions:
    return Predictions.from_arrays(np.arange(len(points)), embeddings=points.astype(np.float32))


def radius(points: np.ndarray, centres: np.ndarray) -> float:
    return float(np.linalg.norm(points[:, None] - centres[None], axis=2).min(axis=1).max())


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(4, 11),
    k=st.integers(1, 3),
    labeled=st.integers(0, 2),
    shards=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_the_radius_is_at_most_four_times_the_optimum(n: int, k: int, labeled: int, shards: int, seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 30, (n, 2)).astype(float)
    owned = list(range(labeled))
    found = parse(f"core-sets:of=k-center,shards={shards}").select(pool(points), budget=k, labeled=owned)
    best = min(radius(points, points[[*owned, *some]]) for some in combinations(range(n), k))
    assert radius(points, points[[*owned, *found.sample_ids.tolist()]]) <= 4 * best + 1e-6


@pytest.mark.parametrize("of", ["k-center", "entropy", "facility-location"])
def test_one_shard_is_the_inner_strategy_itself(of: str) -> None:
    rng = np.random.default_rng(0)
    data = Predictions.from_arrays(
        np.arange(60), embeddings=rng.standard_normal((60, 4)), logits=rng.standard_normal((60, 3))
    )
    alone, inside = (parse(spec).select(data, budget=7, labeled=[3, 5]) for spec in (of, f"core-sets:of={of},shards=1"))
    assert inside.sample_ids.tolist() == alone.sample_ids.tolist()
    assert inside.receipt.approx == alone.receipt.approx


def test_ranking_by_a_score_is_exact_with_any_shards() -> None:
    data = Predictions.from_arrays(np.arange(60), logits=np.random.default_rng(0).standard_normal((60, 3)))
    alone, inside = (parse(spec).select(data, budget=7) for spec in ("margin", "core-sets:of=margin,shards=5"))
    assert inside.sample_ids.tolist() == alone.sample_ids.tolist()


def test_the_receipt_says_what_was_approximated() -> None:
    data = pool(np.random.default_rng(0).standard_normal((60, 2)))
    receipt = parse("core-sets:shards=4").select(data, budget=5).receipt
    assert receipt.approx == "core-sets of 4 shards: a covering radius at most 4 times the smallest"
    assert receipt.details == {"shards": 4, "in_core_sets": 20}
    assert "no guarantee" in parse("core-sets:of=k-means,shards=4").select(data, budget=5).receipt.approx
    assert parse("core-sets:shards=4").select(data, budget=40).receipt.approx == ""


@pytest.mark.parametrize(
    ("n", "k", "shards"), [(60, 20, 2), (62, 20, 2), (63, 20, 3), (41, 20, 1), (8, 1, 4), (1, 1, 1)]
)
def test_every_shard_leaves_something_out(n: int, k: int, shards: int) -> None:
    data = pool(np.random.default_rng(0).standard_normal((n, 2)))
    receipt = parse("core-sets:shards=4").select(data, budget=k).receipt
    assert receipt.details["shards"] == shards
    if shards == 1:
        assert receipt.approx == ""
        return
    assert receipt.details["in_core_sets"] == shards * k < n
    assert receipt.approx.startswith(f"core-sets of {shards} shards")


@pytest.mark.parametrize("spec", ["core-sets:of=typiclust,shards=3", "core-sets:of=random,shards=2"])
def test_other_inner_strategies_obey_every_law_too(spec: str) -> None:
    check_strategy(spec)


def test_spelling_and_nonsense() -> None:
    assert spelling(parse("core-sets:of=k-center/metric=cosine")).startswith("core-sets:of=k-center/metric=cosine/")
    with pytest.raises(UsageError, match="shards must be 1 or more"):
        parse("core-sets:shards=0")
