"""ALFA-Mix against the authors' mixing, anchor by anchor."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.strategies import parse
from foresift.strategies.alfa_mix import AlfaMix, class_means


def pool(n: int = 150, c: int = 4, d: int = 6) -> tuple[Predictions, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    embeddings, weights = rng.normal(size=(n, d)).astype("f4") * 2, rng.normal(size=(c, d)).astype("f4")
    predictions = Predictions.from_arrays(np.arange(n), logits=embeddings @ weights.T, embeddings=embeddings)
    return predictions, embeddings.astype(float), weights.astype(float)


def mixed(z: np.ndarray, anchor: np.ndarray, weights: np.ndarray, eps: float) -> np.ndarray:
    """alpha z* + (1 - alpha) z with the authors' alpha, element by element."""
    logits = weights @ z
    probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    gradient = weights.T @ (probs - np.eye(len(logits))[logits.argmax()])
    alpha = eps * np.linalg.norm(anchor - z) * gradient / np.linalg.norm(gradient) / (anchor - z)
    return alpha * anchor + (1 - alpha) * z


@pytest.mark.parametrize("eps", [0.1, 0.4])
def test_the_same_candidates_change_as_by_mixing_with_every_anchor(eps: float) -> None:
    predictions, embeddings, weights = pool()
    labeled, labels = [3, 40, 41, 90, 120], [0, 3, 3, 1, 0]  # class 2 has no label
    strategy = AlfaMix(eps=eps)
    query = strategy.query(predictions, budget=5, labeled=labeled, labels=labels)
    anchors = class_means(query)
    expected_anchors = [embeddings[[3, 120]].mean(axis=0), embeddings[90], embeddings[[40, 41]].mean(axis=0)]
    np.testing.assert_allclose(anchors, expected_anchors, rtol=1e-5)
    changing, doubt = strategy.changing(query, anchors)
    assert doubt == ""
    expected = []
    for row, sample in enumerate(query.ids.tolist()):
        z = embeddings[sample]
        steps = [mixed(z, anchor, weights, eps / np.sqrt(6)) for anchor in anchors.astype(float)]
        if any((weights @ step).argmax() != (weights @ z).argmax() for step in steps):
            expected.append(row)
    assert 10 < len(expected) < 140
    assert changing.tolist() == expected


def test_fewer_changes_than_picks_are_all_taken_and_the_rest_is_random() -> None:
    predictions, _, _ = pool()
    query = AlfaMix().query(predictions, budget=100, labeled=[3, 40], labels=[0, 1])
    changing, _ = AlfaMix().changing(query, class_means(query))
    assert 0 < len(changing) < 100
    drawn = [AlfaMix().select(predictions, budget=100, labeled=[3, 40], labels=[0, 1], seed=seed) for seed in range(2)]
    for selection in drawn:
        assert selection.sample_ids[: len(changing)].tolist() == query.ids[changing].tolist()
        assert len(set(selection.sample_ids.tolist())) == 100
        assert selection.receipt.details["at_random"] == 100 - len(changing)
    assert drawn[0].sample_ids.tolist() != drawn[1].sample_ids.tolist()


def test_without_labels_it_starts_cold() -> None:
    predictions, _, _ = pool()
    selection = parse("ALFA-Mix").select(predictions, budget=10, labels=[])
    assert selection.receipt.details["cold_start"]
    elsewhere = parse("alfa-mix").select(predictions, budget=10, labeled=[999], labels=[1])
    assert elsewhere.receipt.details["cold_start"], "a labeled sample without an embedding is no anchor"


def test_logits_from_elsewhere_are_refused() -> None:
    predictions, embeddings, _ = pool()
    other = Predictions.from_arrays(
        predictions.sample_ids, logits=np.abs(embeddings).astype("f4"), embeddings=embeddings.astype("f4")
    )
    with pytest.raises(UsageError, match="linear function"):
        parse("alfa-mix").select(other, budget=5, labeled=[1], labels=[0])


@pytest.mark.parametrize("eps", ["0", "-1", "nan", "inf"])
def test_a_reach_that_makes_no_sense_is_refused(eps: str) -> None:
    with pytest.raises(UsageError):
        parse(f"alfa-mix:eps={eps}")
