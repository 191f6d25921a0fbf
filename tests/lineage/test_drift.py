"""Drift is flagged where there is some, and at no more than the stated rate where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from foresift.core.errors import NonFiniteError, UsageError
from foresift.lineage.drift import group_drift, holm, ks_permutation, mmd_permutation, stability_index


def naive_mmd(first: np.ndarray, second: np.ndarray) -> float:
    rows = np.concatenate([first, second])
    distances = np.array([[((a - b) ** 2).sum() for b in rows] for a in rows])
    above = distances[np.triu_indices(len(rows), 1)]
    kernel = np.exp(-distances / np.median(above[above > 0]))
    m = len(first)
    return float(kernel[:m, :m].mean() + kernel[m:, m:].mean() - 2 * kernel[:m, m:].mean())


def test_the_statistics_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(40), np.round(rng.random(30) ** 2, 1)
    ours = ks_permutation(np.round(first, 1), second, rng=rng)
    assert ours.statistic == pytest.approx(stats.ks_2samp(np.round(first, 1), second).statistic)
    a, b = rng.standard_normal((20, 4)), rng.standard_normal((25, 4)) + 0.5
    assert mmd_permutation(a, b, rng=rng).statistic == pytest.approx(naive_mmd(a, b))


def test_p_values_agree_with_the_exact_test() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(60), rng.random(50) + 0.15
    exact = stats.ks_2samp(first, second, method="exact").pvalue
    assert ks_permutation(first, second, rng=rng, shuffles=4999).p == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("test", [ks_permutation, mmd_permutation])
def test_equal_distributions_are_flagged_at_the_stated_rate(test: object) -> None:
    rng = np.random.default_rng(2)
    shape = (25,) if test is ks_permutation else (25, 3)
    flagged = [test(rng.random(shape), rng.random(shape), rng=rng, shuffles=99).p <= 0.1 for _ in range(200)]
    assert np.mean(flagged) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 200)


@pytest.mark.parametrize("test", [ks_permutation, mmd_permutation])
def test_shifted_distributions_are_flagged(test: object) -> None:
    rng = np.random.default_rng(3)
    shape = (60,) if test is ks_permutation else (60, 3)
    assert test(rng.random(shape), rng.random(shape) + 0.4, rng=rng).p <= 1 / 500


def test_the_same_sample_is_no_drift_even_if_constant() -> None:
    rng = np.random.default_rng(4)
    rows = rng.random((30, 2))
    assert ks_permutation(rows[:, 0], rows[:, 0], rng=rng).p == 1
    assert mmd_permutation(rows, rows, rng=rng).p == 1
    assert mmd_permutation(np.ones((20, 3)), np.ones((20, 3)), rng=rng).p == 1
    assert stability_index(rows[:, 0], rows[:, 0]) == 0
    assert stability_index(np.ones(20), np.ones(20)) == 0


def test_the_stability_index_grows_with_the_shift_and_stays_finite() -> None:
    rng = np.random.default_rng(5)
    reference = rng.standard_normal(2000)
    found = [stability_index(reference, rng.standard_normal(2000) + shift) for shift in (0, 0.2, 0.5, 1, 50)]
    assert found == sorted(found)
    assert found[0] < 0.1 < 0.25 < found[-1] < np.inf


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], alpha=0.05) == [True, False, False, True]
    assert holm([], alpha=0.05) == []


def test_the_group_that_shifted_is_the_one_that_is_flagged() -> None:
    rng = np.random.default_rng(6)
    groups = np.array(["north"] * 120 + ["south"] * 120 + ["tiny"] * 3)
    scores, rows = rng.random(243), rng.standard_normal((243, 5))
    scores[120:240] += 0.3
    rows[120:240] += 0.8
    found = group_drift((rng.random(300), scores), (rng.standard_normal((300, 5)), rows), groups, rng=rng)
    assert [(one.group, one.flagged) for one in found] == [("south", ("scores", "embeddings")), ("north", ())]
    assert found[0].psi > 0.25 > found[1].psi


def test_too_few_rows_and_broken_values_are_refused() -> None:
    rng = np.random.default_rng(7)
    few = np.zeros(5)
    with pytest.raises(UsageError, match="at least 10"):
        group_drift((few, few), (few[:, None], few[:, None]), np.full(5, "a"), rng=rng)
    bad = np.full(20, np.nan)
    with pytest.raises(NonFiniteError):
        group_drift((bad, bad), (bad[:, None], bad[:, None]), np.full(20, "a"), rng=rng)
