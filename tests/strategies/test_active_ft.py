"""ActiveFT never ends farther from the pool than where it started."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.kernels.active_ft import mean_nearest_cosine
from foresift.kernels.kmeans import kmeans_plus_plus
from foresift.selection.base import generator
from foresift.strategies import parse
from foresift.strategies.unit_clusters import unit_matrix


def pool(rows: np.ndarray) -> Predictions:
    return Predictions.from_arrays(np.arange(len(rows)), embeddings=rows.astype("f4"))


def groups(n: int = 300, k: int = 12, d: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(k, d))[rng.integers(0, k, n)] * 3 + rng.normal(size=(n, d))


@pytest.mark.parametrize("options", ["", ":steps=0", ":rate=0.3", ":temperature=10"])
def test_the_pool_is_no_farther_than_from_the_start(options: str) -> None:
    predictions = pool(groups())
    kept = []
    for seed in range(4):
        strategy = parse(f"active-ft{options}")
        selection = strategy.select(predictions, budget=12, seed=seed)
        units = unit_matrix(strategy.query(predictions, budget=12).matrix("embeddings"))
        start = kmeans_plus_plus(units, 12, generator(seed, "active-ft", labeled=np.empty(0, dtype=np.int64)))
        before, after = (mean_nearest_cosine(units, rows) for rows in (start, selection.sample_ids))
        assert after >= before
        assert selection.receipt.details["mean_nearest_cosine"] == after
        kept.append(selection.receipt.details["start_kept"])
    if not options:
        assert not all(kept), "the steps never led to anything better than the start"


def test_copies_and_zeros_are_picked_once_each() -> None:
    for rows in (np.ones((20, 3)), np.zeros((20, 3)), np.repeat(np.eye(4), 5, axis=0)):
        for budget in (1, 6, 20):
            ids = parse("ActiveFT:steps=5").select(pool(rows), budget=budget).sample_ids
            assert len(set(ids.tolist())) == budget


def test_the_length_of_embeddings_does_not_matter() -> None:
    rows = groups()
    stretched = rows * 2.0 ** np.random.default_rng(1).integers(-3, 4, size=(300, 1))
    plain, other = (parse("active-ft:steps=20").select(pool(r), budget=8) for r in (rows, stretched))
    assert plain.sample_ids.tolist() == other.sample_ids.tolist()


@pytest.mark.parametrize("spec", ["steps=-1", "rate=0", "temperature=-1", "temperature=nan"])
def test_parameters_that_make_no_sense_are_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        parse(f"active-ft:{spec}")
