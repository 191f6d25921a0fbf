from __future__ import annotations

import numpy as np
import scipy.stats

from foresift.core.digests import digest_ids
from foresift.core.predictions import Predictions
from foresift.strategies import parse


def pool(n: int) -> Predictions:
    return Predictions.from_arrays(np.arange(n))


def test_random_draws_without_replacement() -> None:
    """Drawn with replacement, 1000 of 10,000 buy only 951 samples."""
    ids = parse("random").select(pool(10_000), budget=1000).sample_ids
    assert len(np.unique(ids)) == 1000


def test_every_sample_is_equally_likely() -> None:
    counts = np.zeros(12)
    for seed in range(3000):
        counts[parse("random").select(pool(12), budget=4, seed=seed).sample_ids] += 1
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_a_smaller_budget_is_a_prefix() -> None:
    whole = parse("random").select(pool(50), budget=50, seed=9).sample_ids.tolist()
    assert parse("random").select(pool(50), budget=20, seed=9).sample_ids.tolist() == whole[:20]
    assert sorted(whole) == list(range(50))


def test_seeds_differ() -> None:
    draws = {tuple(parse("random").select(pool(50), budget=5, seed=s).sample_ids.tolist()) for s in range(20)}
    assert len(draws) == 20
    assert parse("random").select(pool(50), budget=5, seed=2**70).receipt.seed == 2**70


def test_the_smallest_keys_win() -> None:
    """Computed from the definition: PCG64 seeded by (seed, name, labeled), smallest raw words first."""
    words = [5, int.from_bytes(b"random", "little"), int(digest_ids(np.empty(0, dtype=np.int64)), 16)]
    keys = np.random.PCG64(np.random.SeedSequence(words)).random_raw(8).tolist()
    expected = sorted(range(8), key=keys.__getitem__)
    assert parse("random").select(pool(8), budget=8, seed=5).sample_ids.tolist() == expected
