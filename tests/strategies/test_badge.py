"""BADGE draws by the law of its definition, from gradients written out in full."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.strategies import parse


def pool(logits: np.ndarray, embeddings: np.ndarray) -> Predictions:
    ids = np.arange(len(logits))
    return Predictions.from_arrays(ids, logits=logits.astype("f4"), embeddings=embeddings.astype("f4"))


def gradients_of(logits: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p -= np.eye(logits.shape[1])[p.argmax(axis=1)]
    return (p[:, :, None] * embeddings[:, None, :]).reshape(len(p), -1)


def test_picks_follow_the_law_of_gradients_written_out() -> None:
    rng = np.random.default_rng(0)
    logits, embeddings = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))
    gradients = gradients_of(logits, embeddings)
    first = int((gradients**2).sum(axis=1).argmax())
    squared = ((gradients[:, None] - gradients[None]) ** 2).sum(axis=2)
    chances = {}
    for rest in permutations([row for row in range(7) if row != first], 3):
        picked, chance = [first], 1.0
        for row in rest:
            mass = squared[picked].min(axis=0)
            chance *= mass[row] / mass.sum()
            picked.append(row)
        chances[tuple(picked)] = chance
    predictions, draws, counts = pool(logits, embeddings), 4000, dict.fromkeys(chances, 0)
    for seed in range(draws):
        counts[tuple(parse("badge").select(predictions, budget=4, seed=seed).sample_ids.tolist())] += 1
    common = [key for key, chance in chances.items() if chance * draws >= 10]
    seen, wanted = [counts[key] for key in common], [chances[key] * draws for key in common]
    assert len(common) > 20
    pvalue = chisquare([*seen, draws - sum(seen)], [*wanted, draws - sum(wanted)]).pvalue
    assert pvalue > 1e-3


@pytest.mark.parametrize("spec", ["badge", "badge:bias=true", "badge:top_classes=2"])
def test_copies_and_certain_rows_are_picked_once_each(spec: str) -> None:
    rng = np.random.default_rng(1)
    logits, embeddings = np.repeat(rng.normal(size=(4, 3)), 6, axis=0), np.repeat(rng.normal(size=(4, 5)), 6, axis=0)
    logits[6:12] = [500, 0, 0]
    embeddings[12:18] = 0
    for budget in (3, 20, 24):
        ids = parse(spec).select(pool(logits, embeddings), budget=budget).sample_ids
        assert len(set(ids.tolist())) == budget


def test_equal_gradients_leave_a_uniform_draw() -> None:
    predictions, counts = pool(np.zeros((6, 2)), np.ones((6, 3))), np.zeros(6)
    for seed in range(1500):
        counts[parse("badge").select(predictions, budget=2, seed=seed).sample_ids] += 1
    assert counts[0] == 1500, "of equally long gradients the first in order of id starts"
    assert chisquare(counts[1:]).pvalue > 1e-3


def test_the_bias_counts_where_asked_for() -> None:
    predictions = pool(np.array([[0.0, 0], [3, 0], [0, 3]]), np.array([[0.0], [0.1], [0.1]]))
    assert parse("badge").select(predictions, budget=1).sample_ids[0] == 1
    assert parse("badge:bias=true").select(predictions, budget=1).sample_ids[0] == 0


def test_fewer_classes_are_named_and_as_many_are_exact() -> None:
    rng = np.random.default_rng(2)
    predictions = pool(rng.normal(size=(30, 6)), rng.normal(size=(30, 4)))
    exact, same, fewer = (
        parse(spec).select(predictions, budget=10) for spec in ("badge", "badge:top_classes=6", "badge:top_classes=3")
    )
    assert (exact.receipt.approx, same.receipt.approx) == ("", "")
    np.testing.assert_array_equal(exact.sample_ids, same.sample_ids)
    assert "3 of 6 classes" in fewer.receipt.approx
    assert 0 < fewer.receipt.details["dropped"] < 1
    with pytest.raises(UsageError, match="top_classes"):
        parse("badge:top_classes=1")
