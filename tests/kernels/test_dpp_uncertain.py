"""Kernels of uncertainty and similarity: what each form is claimed to do, on six clusters and by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from dpp_brute import Array
from foresift.kernels.dpp_ensembles import Ensemble, primal_ensemble
from foresift.kernels.dpp_exact import expected_counts, marginals, sample_k_dpp
from foresift.kernels.dpp_features import Geometry, half_squared_distances, typical_distance
from foresift.kernels.dpp_uncertain import (
    DistanceKernel,
    UncertainDistance,
    bounded_gamma,
    clipped,
    literal_kernel,
    quality,
)

LEVELS = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 1.0])
CLUSTER = np.repeat(np.arange(6), 100)


def six_clusters(spread: Array, seed: int = 0) -> Array:
    """(600, 16) points of length 1 around six random directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 16))
    rows = centres[CLUSTER] + spread[CLUSTER, None] * rng.normal(size=(600, 16))
    return Geometry().place(rows)


def distance_kernel(points: Array, uncertainty: Array) -> Array:
    distance, rows = UncertainDistance(points, uncertainty, 0.4, 0.6), np.arange(len(points))
    whole = distance(rows, rows)
    return DistanceKernel(distance, 0.5 * typical_distance(whole[np.triu_indices(len(points), 1)]))(rows, rows)


def rbf(points: Array) -> Array:
    distances = half_squared_distances(points, points)
    return np.exp(distances / (-0.5 * typical_distance(distances[np.triu_indices(len(points), 1)])))


def test_distance_equals_its_definition_and_vanishes_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    points, u = Geometry().place(rng.normal(size=(7, 3))), rng.uniform(size=7)
    slow = 0.4 * np.array([[max(x, y) for y in u] for x in u]) + 0.6 * (1 - points @ points.T)
    np.fill_diagonal(slow, 0)
    distance = UncertainDistance(points, u, 0.4, 0.6)
    np.testing.assert_allclose(distance(np.arange(7), np.arange(7)), slow, atol=1e-12)
    np.testing.assert_allclose(distance(np.array([5, 1]), np.array([1, 2, 5])), slow[[5, 1]][:, [1, 2, 5]], atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.floats(0, 5), st.floats(0.01, 5), st.floats(0.05, 5), st.integers(0, 2**32))
def test_distance_form_is_positive_semi_definite_for_any_weights(
    n: int, a: float, b: float, tau: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = Geometry().place(np.repeat(rng.normal(size=(n, 3)), 2, axis=0))
    kernel = DistanceKernel(UncertainDistance(points, rng.uniform(size=2 * n), a, b), tau)
    assert np.linalg.eigvalsh(kernel(np.arange(2 * n), np.arange(2 * n))).min() > -1e-9


def test_uncertain_copies_are_full_rank_in_the_distance_form() -> None:
    points = np.ones((10, 1))
    kernel = distance_kernel(points, np.linspace(0.1, 1, 10))
    assert np.linalg.matrix_rank(kernel) == 10


@pytest.mark.parametrize("spread", [np.full(6, 0.5), np.linspace(0.5, 0.15, 6)], ids=["equal", "uncertain dense"])
def test_distance_form_gives_uncertain_clusters_more_and_starves_none(spread: Array) -> None:
    ensemble = primal_ensemble(distance_kernel(six_clusters(spread), LEVELS[CLUSTER]))
    counts = expected_counts(ensemble, 30, CLUSTER)
    assert spearmanr(counts, LEVELS)[0] > 0.8
    drawn = [sample_k_dpp(ensemble, 30, np.random.default_rng(seed)) for seed in range(150)]
    empty = np.mean([len(set(CLUSTER[rows].tolist())) < 6 for rows in drawn])
    assert empty < 0.05


def test_equation_as_printed_has_at_most_d_plus_one_positive_eigenvalues_and_no_visible_effect() -> None:
    points = six_clusters(np.full(6, 0.35))
    uncertainty = LEVELS[CLUSTER] - 1e-3 * np.random.default_rng(0).uniform(size=600)
    found = clipped(literal_kernel(points, uncertainty, a=0.4, b=0.6))
    assert found.positive <= 17
    assert found.negative > 500
    assert 0 < found.removed < 0.5
    counts, cosine = (expected_counts(primal_ensemble(L), 12, CLUSTER) for L in (found.matrix, points @ points.T))
    assert np.abs(counts - cosine).max() < 0.4
    assert spearmanr(counts, LEVELS)[0] < 0.5


def test_two_copies_of_unequal_uncertainty_have_a_negative_determinant_as_printed() -> None:
    literal = literal_kernel(np.ones((2, 1)), np.array([0.1, 0.9]), a=0.4, b=0.6)
    assert np.linalg.det(literal) < 0
    assert clipped(literal).negative == 1
    maxima = literal_kernel(np.zeros((2, 1)), np.array([0.1, 0.9]), a=1, b=1)
    assert np.linalg.det(maxima) == pytest.approx(0.9 * (0.1 - 0.9))


def test_clipping_leaves_a_positive_semi_definite_matrix_alone() -> None:
    kernel = rbf(six_clusters(np.full(6, 0.35))[:40])
    found = clipped(kernel)
    np.testing.assert_allclose(found.matrix, kernel, atol=1e-9)
    assert (found.removed, found.negative) == (0.0, 0)


def test_marginals_rise_with_quality() -> None:
    kernel, u = rbf(six_clusters(np.full(6, 0.35))[::30]), np.full(20, 0.5)
    for row in (0, 7, 19):
        chances = []
        for value in (0.0, 0.3, 0.6, 1.0):
            u[row] = value
            chances.append(marginals(primal_ensemble(kernel, quality(u, 2.0)), 6)[row])
        assert (np.diff(chances) > 0).all()
        u[row] = 0.5


def test_quality_is_the_weight_of_a_single_pick() -> None:
    u = np.linspace(0, 1, 8)
    chances = marginals(primal_ensemble(np.eye(8), quality(u, 2.0)), 1)
    assert chances[-1] / chances[0] == pytest.approx(np.exp(2))


def test_gamma_is_lowered_until_no_stratum_starves_and_no_further() -> None:
    kernel = rbf(six_clusters(np.full(6, 0.35)))

    def ensemble(gamma: float) -> Ensemble:
        return primal_ensemble(kernel, quality(LEVELS[CLUSTER], gamma))

    kept = bounded_gamma(ensemble, CLUSTER, 30, 2.0)
    assert kept.gamma == 2.0
    lowered = bounded_gamma(ensemble, CLUSTER, 30, 8.0)
    assert 0 < lowered.gamma < 8.0
    assert expected_counts(ensemble(lowered.gamma), 30, CLUSTER).min() == pytest.approx(lowered.fewest)
    assert lowered.fewest >= 1 > expected_counts(ensemble(8.0), 30, CLUSTER).min()


def test_strata_with_few_expected_picks_are_not_guarded() -> None:
    found = bounded_gamma(lambda gamma: primal_ensemble(np.eye(8)), np.arange(8), 4, 5.0)
    assert found == (5.0, np.inf)


def test_conditioned_distance_kernel_is_the_schur_complement() -> None:
    rng = np.random.default_rng(2)
    points, u = Geometry().place(rng.normal(size=(9, 4))), rng.uniform(size=9)
    plain = DistanceKernel(UncertainDistance(points, u, 0.4, 0.6), 0.3)
    whole, known = plain(np.arange(9), np.arange(9)), np.array([6, 7, 8])
    cross = whole[:, known]
    slow = whole - cross @ np.linalg.inv(whole[np.ix_(known, known)] + 0.05 * np.eye(3)) @ cross.T
    got = plain.given(known, noise=0.05)
    np.testing.assert_allclose(got(np.arange(9), np.arange(9)), slow, atol=1e-12)
