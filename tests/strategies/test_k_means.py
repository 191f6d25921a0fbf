"""k-means as a strategy: one candidate a group, labeled rows left aside."""

from __future__ import annotations

import numpy as np

from foresift.core.predictions import Predictions
from foresift.strategies import parse


def test_one_candidate_of_every_group_from_the_largest_down() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), [30, 25, 20, 15, 10])
    rows = (rng.normal(size=(5, 6)) * 30)[groups] + rng.normal(size=(100, 6))
    predictions = Predictions.from_arrays(np.arange(100), embeddings=rows.astype("f4"))
    selection = parse("KMeansSampling").select(predictions, budget=5)
    assert groups[selection.sample_ids].tolist() == [0, 1, 2, 3, 4]
    for group, sample in enumerate(selection.sample_ids.tolist()):
        mine = np.flatnonzero(groups == group)
        assert sample == mine[((rows[mine] - rows[mine].mean(axis=0)) ** 2).sum(axis=1).argmin()]
    rest = parse("k-means").select(predictions, budget=4, labeled=np.flatnonzero(groups == 1))
    assert groups[rest.sample_ids].tolist() == [0, 2, 3, 4]


def test_copies_are_picked_once_each() -> None:
    predictions = Predictions.from_arrays(np.arange(20), embeddings=np.ones((20, 3), dtype="f4"))
    for budget in (1, 7, 20):
        ids = parse("k-means").select(predictions, budget=budget).sample_ids
        assert len(set(ids.tolist())) == budget
