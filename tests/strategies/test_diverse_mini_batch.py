"""Diverse mini-batches: margin where beta is 1, k-means where nothing is uncertain, both between."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.strategies import parse


def pool(n: int = 80, *, logits: np.ndarray | None = None) -> Predictions:
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(n, 4)) * 2 if logits is None else logits
    embeddings = rng.normal(size=(n, 5))
    return Predictions.from_arrays(np.arange(n), logits=drawn.astype("f4"), embeddings=embeddings.astype("f4"))


@pytest.mark.parametrize("budget", [1, 9, 80])
def test_with_beta_1_the_picks_are_those_of_margin(budget: int) -> None:
    ours = parse("diverse-mini-batch:beta=1").select(pool(), budget=budget)
    margin = parse("margin").select(pool(), budget=budget)
    assert set(ours.sample_ids.tolist()) == set(margin.sample_ids.tolist())
    scores = dict(zip(margin.sample_ids.tolist(), margin.scores.tolist(), strict=True))
    assert [scores[sample] for sample in ours.sample_ids.tolist()] == ours.scores.tolist()


def test_no_pick_is_outside_of_the_kept_ones() -> None:
    selection = parse("DBAL:beta=3").select(pool(), budget=8)
    assert set(selection.sample_ids.tolist()) <= set(parse("margin").select(pool(), budget=24).sample_ids.tolist())
    assert selection.receipt.details == {"kept": 24}


def test_weights_that_are_all_0_count_as_equal() -> None:
    certain = np.zeros((80, 4))
    certain[:, 0] = 2000
    picked = parse("diverse-mini-batch").select(pool(logits=certain), budget=80 // 10)
    assert not picked.scores.any()
    assert len(set(picked.sample_ids.tolist())) == 8


def test_weights_pull_the_pick_towards_the_uncertain() -> None:
    logits = np.array([[0.0, 0], [9, 0], [9, 0], [9, 0]])
    embeddings = np.array([[0.0], [1], [2], [3]])
    predictions = Predictions.from_arrays(np.arange(4), logits=logits.astype("f4"), embeddings=embeddings.astype("f4"))
    assert parse("diverse-mini-batch").select(predictions, budget=1).sample_ids.tolist() == [0]
    assert parse("k-means").select(predictions, budget=1).sample_ids.tolist() != [0]


def test_beta_below_1_is_refused() -> None:
    with pytest.raises(UsageError, match="beta"):
        parse("diverse-mini-batch:beta=0")
