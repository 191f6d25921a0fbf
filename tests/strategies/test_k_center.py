"""Greedy k-center as a strategy: labeled samples are centres, radius in the receipt, scores that fall."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.strategies import parse
from foresift.strategies.k_center import KCenter
from foresift.testing import check_strategy


def pool(n: int, d: int = 6, *, seed: int = 0) -> tuple[np.ndarray, Predictions]:
    embeddings = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return embeddings, Predictions.from_arrays(range(n), embeddings=embeddings)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None].astype(np.float64) - centres[None].astype(np.float64), axis=2).min(axis=1)


@pytest.mark.parametrize("labeled", [[], [5, 9, 31]])
def test_every_pick_is_the_farthest_candidate_at_its_time(labeled: list[int]) -> None:
    embeddings, predictions = pool(80)
    selection = parse("k-center").select(predictions, budget=20, labeled=labeled)
    centres = list(labeled)
    for sample, score in zip(selection.sample_ids.tolist(), selection.scores, strict=True):
        if centres:
            distances = nearest(embeddings, embeddings[centres])
            assert sample == int(distances.argmax())
            assert score == pytest.approx(distances.max())
        centres.append(sample)
    radius = nearest(embeddings, embeddings[centres]).max()
    assert selection.receipt.details["radius"] == pytest.approx(radius)
    assert (np.diff(selection.scores) <= 0).all()


def test_without_labels_the_first_is_nearest_to_the_mean() -> None:
    embeddings, predictions = pool(80)
    first = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1).argmin()
    assert parse("KCG").select(predictions, budget=1).sample_ids.tolist() == [first]


def test_a_random_start_differs_by_seed() -> None:
    _, predictions = pool(80)
    strategy = parse("k-center:first=random")
    firsts = {int(strategy.select(predictions, budget=1, seed=seed).sample_ids[0]) for seed in range(20)}
    assert len(firsts) > 10


def test_the_radius_never_rises_with_the_budget_and_ends_at_zero() -> None:
    _, predictions = pool(60)
    radii = [
        parse("k-center").select(predictions, budget=budget, labeled=[3]).receipt.details["radius"]
        for budget in range(1, 60)
    ]
    assert (np.diff(radii) <= 0).all()
    assert radii[-1] == 0


def test_a_copy_of_a_labeled_sample_is_picked_last() -> None:
    embeddings, _ = pool(40)
    embeddings[20] = embeddings[7]
    predictions = Predictions.from_arrays(range(40), embeddings=embeddings)
    selection = parse("k-center").select(predictions, budget=39, labeled=[7])
    assert selection.sample_ids[-1] == 20
    assert selection.scores[-1] == 0


def test_cosine_sees_directions_only() -> None:
    embeddings, predictions = pool(60)
    lengths = 2.0 ** np.random.default_rng(1).integers(-5, 6, (60, 1))
    scaled = Predictions.from_arrays(range(60), embeddings=(embeddings * lengths).astype(np.float32))
    picked = [parse("k-center:metric=cosine").select(p, budget=15, labeled=[0, 1]) for p in (predictions, scaled)]
    assert picked[0].sample_ids.tolist() == picked[1].sample_ids.tolist()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert picked[0].scores[0] == pytest.approx(nearest(unit, unit[:2]).max(), rel=1e-5)


@pytest.mark.parametrize("spec", ["k-center:metric=cosine", "k-center:first=random"])
def test_its_variants_obey_the_laws(spec: str) -> None:
    check_strategy(spec)


@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equal_embeddings_come_in_order_of_id(value: float, metric: str) -> None:
    predictions = Predictions.from_arrays(range(9), embeddings=np.full((9, 30), value, dtype=np.float32))
    selection = parse(f"k-center:metric={metric}").select(predictions, budget=5, labeled=[4])
    assert selection.sample_ids.tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("parameters", [{"metric": "manhattan"}, {"first": "last"}])
def test_bad_parameters_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="must be one of"):
        KCenter(**parameters)
