"""Strategies that rank by a column that a pass made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

import foresift
from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.strategies import parse


def predictions(columns: Mapping[str, npt.ArrayLike]) -> Predictions:
    arrays = {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}
    n = len(next(iter(arrays.values())))
    ids = np.array([f"s{number}" for number in range(n)])
    return Predictions(sample_ids=ids, columns={name: Column(values=values) for name, values in arrays.items()})


def test_the_smallest_flip_distance_comes_first() -> None:
    selection = foresift.select(predictions({"flip-distance": [3, 1, 2, 1]}), "deep-fool", budget=3)
    assert selection.sample_ids.tolist() == ["s1", "s3", "s2"]
    assert selection.scores is not None
    assert selection.scores.tolist() == [-1, -1, -2]


def test_a_pool_without_the_column_says_how_to_get_it() -> None:
    with pytest.raises(MissingColumnError, match=r"flip-distance.*select POOL --model"):
        foresift.select(predictions({"logits": np.eye(3)}), "deep-fool", budget=1)


@pytest.mark.parametrize("spelling", ["deep-fool:steps=0", "deep-fool:competitors=0", "deep-fool:overshoot=0"])
def test_parameters_out_of_range_are_refused(spelling: str) -> None:
    with pytest.raises(UsageError, match="must be"):
        parse(spelling)


def losses(n: int) -> Predictions:
    return predictions({"predicted-loss": np.random.default_rng(0).permutation(n)})


def test_the_largest_predicted_loss_comes_first() -> None:
    selection = foresift.select(predictions({"predicted-loss": [0.1, 3, -2, 3]}), "LLAL", budget=3)
    assert selection.sample_ids.tolist() == ["s1", "s3", "s0"]


def test_a_subset_is_random_and_its_best_are_chosen() -> None:
    pool = losses(200)
    by_id = dict(zip(pool.sample_ids.tolist(), pool.column("predicted-loss").tolist(), strict=True))
    chosen = {seed: foresift.select(pool, "loss-prediction:subset=40", budget=40, seed=seed) for seed in range(20)}
    assert len({tuple(selection.sample_ids.tolist()) for selection in chosen.values()}) == 20
    mean = np.mean([by_id[sample] for selection in chosen.values() for sample in selection.sample_ids.tolist()])
    assert abs(mean - 99.5) < 8  # 800 draws of a uniform rank: a standard deviation of 2
    for seed, selection in chosen.items():
        best = foresift.select(pool, "loss-prediction:subset=40", budget=5, seed=seed)
        assert best.sample_ids.tolist() == selection.sample_ids[:5].tolist()
        assert (np.diff(selection.scores) < 0).all()


def test_a_subset_smaller_than_the_budget_is_refused_and_a_larger_than_the_pool_is_all() -> None:
    with pytest.raises(UsageError, match="subset of 3, fewer than the budget of 4"):
        foresift.select(losses(9), "loss-prediction:subset=3", budget=4)
    whole, subset = (foresift.select(losses(9), f"loss-prediction:subset={size}", budget=4) for size in (0, 10))
    assert whole.sample_ids.tolist() == subset.sample_ids.tolist()
