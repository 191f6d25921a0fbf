"""D^2 sampling in batches follows the law of sampling one by one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from foresift.core.matrices import RowMatrix
from foresift.kernels.d2_sampling import EuclideanPoints, d2_sample


def points_of(rows: object) -> EuclideanPoints:
    return EuclideanPoints(RowMatrix(array=np.asarray(rows, dtype=np.float32)))


def law(rows: np.ndarray, first: int, k: int, weights: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of picks, by the definition."""
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    chances = {}
    for rest in permutations([row for row in range(len(rows)) if row != first], k - 1):
        picked, chance = [first], 1.0
        for row in rest:
            mass = weights * distances[picked].min(axis=0)
            chance *= mass[row] / mass.sum()
            picked.append(row)
        chances[tuple(picked)] = chance
    return chances


@pytest.mark.parametrize("weighted", [False, True])
def test_sequences_follow_the_law(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 2)) * [[1], [1], [1], [3], [3], [0.3]]
    weights = rng.uniform(0.2, 2, 6) if weighted else np.ones(6)
    points, expected, draws = points_of(rows), law(rows, 2, 5, weights), 8_000
    counts = dict.fromkeys(expected, 0)
    for _ in range(draws):
        counts[tuple(d2_sample(points, 2, 5, rng, weights=weights if weighted else None).tolist())] += 1
    common = [key for key, chance in expected.items() if chance * draws >= 10]
    seen = [counts[key] for key in common]
    wanted = [expected[key] * draws for key in common]
    seen.append(draws - sum(seen))
    wanted.append(draws - sum(wanted))
    assert len(common) > 25
    assert chisquare(seen, wanted).pvalue > 1e-3


def test_each_separate_group_is_found_before_any_twice() -> None:
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(30, 4)) * 1e3).repeat(20, axis=0) + rng.normal(size=(600, 4)) * 1e-3
    picks = d2_sample(points_of(rows), 0, 30, rng)
    assert len(set((picks // 20).tolist())) == 30


def test_copies_of_the_picks_come_last_and_every_row_once() -> None:
    rows = np.repeat(np.random.default_rng(2).normal(size=(5, 3)), 8, axis=0)
    for seed in range(5):
        picks = d2_sample(points_of(rows), 3, 40, np.random.default_rng(seed))
        assert picks[0] == 3
        assert sorted(picks.tolist()) == list(range(40))
        assert len(set((picks[:5] // 8).tolist())) == 5


def test_rows_without_a_distance_are_equally_likely() -> None:
    rng, counts = np.random.default_rng(3), np.zeros(8)
    for _ in range(2000):
        counts[d2_sample(points_of(np.ones((8, 2))), 0, 3, rng)] += 1
    assert counts[0] == 2000
    assert chisquare(counts[1:]).pvalue > 1e-3
