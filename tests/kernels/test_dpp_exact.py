"""Samples of k-DPPs against every subset at n = 8, and the theorems that hold at any size."""

from __future__ import annotations

import numpy as np
import pytest

from dpp_brute import Array, assert_law, draw, law, marginals_of
from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels import dpp_exact
from foresift.kernels.dpp_ensembles import DualEnsemble, Ensemble, FeatureRows, dual_ensemble, primal_ensemble
from foresift.kernels.dpp_exact import expected_counts, marginals, sample_beyond_rank, sample_k_dpp
from foresift.kernels.dpp_features import Geometry, LinearFeatures
from foresift.kernels.dpp_projection import ReadRows, sample_projection

TIMES = 4000


def kernel_of(points: Array) -> Array:
    return np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2) / 2)


def points(n: int = 8, d: int = 2, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, d))


def dual(features: Array, quality: Array | None = None) -> DualEnsemble:
    matrix = RowMatrix(array=features.astype(np.float32))
    geometry = Geometry(origin=np.zeros(features.shape[1]))
    rows = FeatureRows(
        matrix=matrix, geometry=geometry, features=LinearFeatures(width=features.shape[1]), quality=quality
    )
    return dual_ensemble(rows)


@pytest.mark.parametrize("k", [1, 2, 4, 7, 8])
def test_primal_samples_follow_the_determinants(k: int) -> None:
    kernel = kernel_of(points())
    ensemble = primal_ensemble(kernel)
    assert_law(draw(lambda rng: sample_k_dpp(ensemble, k, rng), TIMES, seed=k), law(kernel, k))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_dual_samples_follow_the_same_law_as_primal_ones(k: int) -> None:
    features = points(8, 5).astype(np.float32).astype(np.float64)
    quality = np.linspace(0.5, 2, 8)
    kernel = (features @ features.T) * np.outer(quality, quality)
    ensemble = dual(features, quality)
    assert_law(draw(lambda rng: sample_k_dpp(ensemble, k, rng), TIMES, seed=k), law(kernel, k))
    np.testing.assert_allclose(marginals(ensemble, k), marginals(primal_ensemble(kernel), k), atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_marginals_equal_those_of_every_subset(k: int) -> None:
    kernel = kernel_of(points())
    got = marginals(primal_ensemble(kernel), k)
    np.testing.assert_allclose(got, marginals_of(law(kernel, k), 8), atol=1e-9)
    assert got.sum() == pytest.approx(k)


def test_one_pick_is_proportional_to_the_diagonal() -> None:
    quality = np.linspace(1, 3, 8)
    ensemble = primal_ensemble(kernel_of(points()), quality)
    np.testing.assert_allclose(marginals(ensemble, 1), quality**2 / (quality**2).sum(), rtol=1e-9)


def test_scaling_the_kernel_changes_no_sample() -> None:
    kernel = kernel_of(points(40, 3))
    one, two = (sample_k_dpp(primal_ensemble(kernel * scale), 12, np.random.default_rng(4)) for scale in (1.0, 2.0**40))
    np.testing.assert_array_equal(one, two)


def test_pairs_are_negatively_correlated() -> None:
    probabilities = law(kernel_of(points()), 3)
    single = marginals_of(probabilities, 8)
    counts = draw(lambda rng: sample_k_dpp(primal_ensemble(kernel_of(points())), 3, rng), TIMES, seed=9)
    for i in range(8):
        for j in range(i):
            together = sum(c for s, c in counts.items() if i in s and j in s) / TIMES
            assert together <= single[i] * single[j] + 4 * np.sqrt(single[i] * single[j] / TIMES)


def test_copies_are_never_drawn_together() -> None:
    rows = points(6, 3)
    doubled = np.concatenate([rows, rows])
    spectra: list[Ensemble] = [primal_ensemble(kernel_of(doubled)), dual(np.concatenate([points(6, 6)] * 2))]
    for ensemble in spectra:
        for seed in range(100):
            drawn = sample_k_dpp(ensemble, 6, np.random.default_rng(seed))
            assert sorted(drawn % 6) == [0, 1, 2, 3, 4, 5]


def test_rank_is_the_largest_sample() -> None:
    ensemble = dual(points(20, 5))
    assert len(set(sample_k_dpp(ensemble, 5, np.random.default_rng(0)).tolist())) == 5
    with pytest.raises(UsageError, match="rank 5 holds no set of 6"):
        sample_k_dpp(ensemble, 6, np.random.default_rng(0))
    with pytest.raises(UsageError, match="rank 5 holds no set of 6"):
        marginals(ensemble, 6)


def test_beyond_the_rank_the_law_is_the_limit_of_a_vanishing_nugget() -> None:
    features = points(7, 2, seed=3)
    kernel = features @ features.T
    limit = law(kernel + 1e-7 * np.eye(7), 4)
    ensemble = primal_ensemble(kernel)
    assert_law(draw(lambda rng: sample_beyond_rank(ensemble, 4, rng), TIMES, seed=1), limit)


def test_within_the_rank_beyond_rank_is_the_sample_itself() -> None:
    ensemble = primal_ensemble(kernel_of(points(30, 3)))
    one, two = (f(ensemble, 9, np.random.default_rng(5)) for f in (sample_k_dpp, sample_beyond_rank))
    np.testing.assert_array_equal(one, two)


def test_large_blocks_of_proposals_keep_rows_distinct_and_the_marginals() -> None:
    kernel = kernel_of(points(300, 4, seed=2))
    ensemble, total = primal_ensemble(kernel), np.zeros(300)
    expected = marginals(ensemble, 60)
    for seed in range(200):
        drawn = sample_k_dpp(ensemble, 60, np.random.default_rng(seed))
        assert len(np.unique(drawn)) == 60
        total[drawn] += 1
    z = (total - 200 * expected) / np.sqrt(200 * expected * (1 - expected) + 1e-9)
    assert np.abs(z).max() < 4.5
    assert 0.7 < z.std() < 1.3


def test_a_look_in_float32_first_changes_no_pick_and_spares_most_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    ensemble = dual(rng.normal(size=(500, 80)), np.exp(rng.normal(size=500)))
    read: list[int] = []
    rows_of = DualEnsemble.eigenvector_rows

    def counted(self: DualEnsemble, columns: Array, *, dtype: type = np.float64) -> ReadRows:
        rows = rows_of(self, columns, dtype=dtype)

        def reading(which: Array) -> Array:
            if dtype is np.float64:
                read.append(len(which))
            return rows(which)

        return reading

    monkeypatch.setattr(DualEnsemble, "eigenvector_rows", counted)
    for seed in range(20):
        plain = sample_k_dpp(ensemble, 70, np.random.default_rng(seed))
        proposals = sum(read)
        read.clear()
        with monkeypatch.context() as patch:
            patch.setattr(dpp_exact, "SCREENED_ABOVE", 10)
            np.testing.assert_array_equal(sample_k_dpp(ensemble, 70, np.random.default_rng(seed)), plain)
        assert 70 <= sum(read) < 0.8 * proposals
        read.clear()


def test_expected_counts_add_up_marginals_of_strata() -> None:
    ensemble, strata = primal_ensemble(kernel_of(points(12, 3))), np.arange(12) % 3
    counts = expected_counts(ensemble, 5, strata)
    assert counts.sum() == pytest.approx(5)
    assert counts[1] == pytest.approx(marginals(ensemble, 5)[1::3].sum())


def test_a_projection_that_cannot_give_k_rows_is_an_error_and_never_endless() -> None:
    one_direction = np.ones((6, 3)) / np.sqrt(6)
    leverage = np.full(6, 0.5)
    with pytest.raises(NonFiniteError, match="only 1 of 3 rows"):
        sample_projection(leverage, lambda which: one_direction[which], 3, np.random.default_rng(0))
    with pytest.raises(NonFiniteError, match="2 rows have positive"):
        sample_projection(np.array([1.0, 1.0, 0.0]), lambda which: np.eye(3)[which], 3, np.random.default_rng(0))
