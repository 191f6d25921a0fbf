"""Random stays random over the rounds of a run that keeps its seed."""

from __future__ import annotations

import numpy as np

import foresift

N, ROUNDS, BUDGET, GROUP = 2_000, 10, 20, 10


def picks(seed: int) -> np.ndarray:
    """All ids that ten rounds with one seed pick, each excluding those before."""
    predictions = foresift.Predictions.from_arrays(np.arange(N))
    labeled: list[int] = []
    for _ in range(ROUNDS):
        labeled += foresift.select(predictions, "random", budget=BUDGET, labeled=labeled, seed=seed).sample_ids.tolist()
    return np.array(labeled)


def test_rounds_with_one_seed_do_not_pick_neighbours_of_earlier_picks() -> None:
    groups = [len(np.unique(picks(seed) // GROUP)) for seed in range(20)]
    share = 1 - np.prod([(N - GROUP - i) / (N - i) for i in range(ROUNDS * BUDGET)])
    expected = N / GROUP * share  # groups that a sample without replacement touches
    spread = np.sqrt(N / GROUP * share * (1 - share))
    assert abs(np.mean(groups) - expected) < 4 * spread / np.sqrt(len(groups))


def test_every_candidate_is_as_likely_in_the_second_round() -> None:
    predictions = foresift.Predictions.from_arrays(np.arange(40))
    counts = np.zeros(40)
    for seed in range(2_000):
        first = foresift.select(predictions, "random", budget=20, seed=seed).sample_ids
        second = foresift.select(predictions, "random", budget=10, labeled=first, seed=seed).sample_ids
        counts[second] += 1
    assert abs(counts - 500).max() < 5 * np.sqrt(2_000 * 0.25 * 0.75)
