"""Candidates are ranked by their distance from the mean of what is labeled, or of the pool."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.predictions import Predictions
from foresift.strategies import parse


def pool(n: int, *, seed: int = 0) -> tuple[np.ndarray, Predictions]:
    embeddings = (np.random.default_rng(seed).normal(size=(n, 7)) + 3).astype(np.float32)
    return embeddings, Predictions.from_arrays(range(n), embeddings=embeddings)


@pytest.mark.parametrize("labeled", [[], [3], [0, 4, 17, 29], [0, 4, 99]])
def test_ranks_by_the_distance_from_the_mean(labeled: list[int]) -> None:
    embeddings, predictions = pool(30)
    known = [row for row in labeled if row < 30]
    rest = [row for row in range(30) if row not in known]
    mean = embeddings[known or rest].astype(np.float64).mean(axis=0)
    far = {row: float(np.sqrt(((embeddings[row] - mean) ** 2).sum())) for row in rest}
    expected = sorted(rest, key=lambda row: -far[row])[:8]
    selection = parse("mean-distance").select(predictions, budget=8, labeled=labeled)
    assert selection.sample_ids.tolist() == expected
    np.testing.assert_allclose(selection.scores, [far[row] for row in expected], rtol=1e-12)


def test_a_value_depends_on_the_row_and_the_labeled_ones_alone() -> None:
    embeddings, predictions = pool(600)
    strategy = parse("mean-distance")
    every = strategy.values(strategy.query(predictions, budget=1, labeled=[0, 1]))
    few = Predictions.from_arrays([0, 1, 77, 401], embeddings=embeddings[[0, 1, 77, 401]])
    assert strategy.values(strategy.query(few, budget=1, labeled=[0, 1])).tolist() == every[[75, 399]].tolist()
