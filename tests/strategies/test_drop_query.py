"""DropQuery against its definition, pass by pass."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.strategies import parse
from foresift.strategies.drop_query import DropQuery, lowest_threshold


def pool(n: int = 400, c: int = 5, d: int = 30) -> tuple[Predictions, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    embeddings, weights = rng.normal(size=(n, d)).astype("f4") + 1, rng.normal(size=(c, d)).astype("f4")
    predictions = Predictions.from_arrays(np.arange(n), logits=embeddings @ weights.T, embeddings=embeddings)
    return predictions, embeddings, weights


@pytest.mark.parametrize("dropout", [0.25, 0.75])
def test_changes_are_those_of_separate_passes(dropout: float) -> None:
    predictions, embeddings, weights = pool()
    strategy = DropQuery(passes=5, dropout=dropout)
    changes, doubt = strategy.changes(strategy.query(predictions, budget=1), np.random.default_rng(7))
    rng, expected = np.random.default_rng(7), np.zeros(400, dtype=int)
    for _ in range(5):
        kept = rng.random((400, 30), dtype=np.float32) < 1 - dropout
        assert kept.mean() == pytest.approx(1 - dropout, abs=0.02)
        dropped = np.where(kept, embeddings / (1 - dropout), 0)
        expected += (dropped @ weights.T).argmax(axis=1) != (embeddings @ weights.T).argmax(axis=1)
    assert doubt == ""
    assert (changes != expected).sum() <= 1, "float32 may decide one tie in thousands"
    assert 0 < changes.mean() < 5


def test_more_dropout_changes_more() -> None:
    predictions, _, _ = pool()
    means = []
    for dropout in (0.05, 0.3, 0.9):
        strategy = DropQuery(dropout=dropout)
        means.append(strategy.changes(strategy.query(predictions, budget=1), np.random.default_rng(0))[0].mean())
    assert means == sorted(means)


def test_the_threshold_falls_while_too_few_pass() -> None:
    changes = np.repeat([0, 1, 2, 3], [100, 50, 30, 20])
    assert lowest_threshold(changes, 3, budget=2) == 1
    assert lowest_threshold(changes, 3, budget=3) == 0
    assert lowest_threshold(changes, 3, budget=100) == 0
    assert lowest_threshold(changes, 7, budget=1) == 1
    assert lowest_threshold(changes, 1, budget=1) == 0


def test_picks_pass_and_the_rest_is_random_only_where_too_few_do() -> None:
    predictions, _, _ = pool()
    selection = parse("DropQuery").select(predictions, budget=6)
    details = selection.receipt.details
    assert details["at_random"] == 0
    assert details["let_through"] >= 6
    sure = parse("drop-query:passes=1,dropout=0.001").select(predictions, budget=300)
    assert sure.receipt.details["at_random"] > 0
    assert len(set(sure.sample_ids.tolist())) == 300


@pytest.mark.parametrize("spec", ["passes=0", "dropout=0", "dropout=1", "dropout=nan"])
def test_parameters_that_make_no_sense_are_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        parse(f"drop-query:{spec}")
