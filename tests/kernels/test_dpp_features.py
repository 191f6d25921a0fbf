"""Explicit features against the kernels that they stand for; conditioning by two formulas."""

from __future__ import annotations

import numpy as np
import pytest

from dpp_brute import Array
from foresift.core.matrices import RowMatrix
from foresift.kernels import dpp_ensembles
from foresift.kernels.dpp_ensembles import (
    FeatureRows,
    conditioned_kernel,
    dual_ensemble,
    gram,
    labeled_factor,
    primal_ensemble,
)
from foresift.kernels.dpp_exact import marginals
from foresift.kernels.dpp_features import (
    Geometry,
    LinearFeatures,
    fourier_features,
    geometry_of,
    half_squared_distances,
    median_distance,
    nystrom_features,
    points_of,
    typical_distance,
)


def embeddings(n: int = 60, d: int = 6, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def slow_kernel(points: Array, tau: float) -> Array:
    return np.array([[np.exp(-((x - y) ** 2).sum() / 2 / tau) for y in points] for x in points])


def test_cosine_distance_is_one_minus_the_cosine_and_a_row_of_zeros_stays() -> None:
    rows = embeddings().astype(np.float64)
    rows[3] = 0
    points = Geometry().place(rows)
    cosine = np.array(
        [[x @ y / np.sqrt((x @ x) * (y @ y)) if x.any() and y.any() else 0.5 for y in rows] for x in rows]
    )
    cosine[3, 3] = 1.0
    np.testing.assert_allclose(half_squared_distances(points, points), 1 - cosine, atol=1e-12)


def test_lengths_near_the_largest_float_do_not_overflow() -> None:
    rows = embeddings() * np.float32(1e37)
    with np.errstate(all="raise", under="ignore"):
        points = Geometry().place(rows)
    np.testing.assert_allclose(points, Geometry().place(embeddings()), rtol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_median_distance_is_that_of_all_pairs(metric: str) -> None:
    matrix = RowMatrix(array=embeddings() + 3)
    geometry = geometry_of(matrix, metric)
    points = points_of(matrix, geometry)
    pairs = [((points[i] - points[j]) ** 2).sum() / 2 for i in range(60) for j in range(i)]
    got = median_distance(matrix, geometry, np.random.default_rng(0))
    assert got == pytest.approx(np.median(pairs), rel=1e-6)


def test_typical_distance_is_above_zero_among_copies() -> None:
    assert typical_distance(np.zeros(10)) == 1.0
    assert typical_distance(np.empty(0)) == 1.0
    assert typical_distance(np.array([0, 0, 0, 1.0])) == 0.25


def test_fourier_features_approach_the_kernel_as_one_over_the_root_of_their_number() -> None:
    points = Geometry().place(embeddings().astype(np.float64))
    kernel = slow_kernel(points, 0.4)
    for count in (256, 4096):
        rows = fourier_features(6, 0.4, features=count, rng=np.random.default_rng(1)).of(points)
        assert rows.shape == (60, count)
        error = rows @ rows.T - kernel
        assert np.sqrt((error**2).mean()) < 1.5 / np.sqrt(count)
        np.testing.assert_allclose((rows**2).sum(axis=1), 1)


def test_fourier_features_have_the_kernel_as_their_mean() -> None:
    points = Geometry().place(embeddings(5).astype(np.float64))
    total = np.zeros((5, 5))
    for seed in range(400):
        rows = fourier_features(6, 0.4, features=64, rng=np.random.default_rng(seed)).of(points)
        total += rows @ rows.T / 400
    np.testing.assert_allclose(total, slow_kernel(points, 0.4), atol=4 / np.sqrt(400 * 64))


def test_nystrom_features_are_exact_with_every_row_a_landmark_and_below_the_kernel_else() -> None:
    matrix = RowMatrix(array=embeddings())
    points, kernel = points_of(matrix, Geometry()), slow_kernel(points_of(matrix, Geometry()), 0.4)
    everyone = nystrom_features(matrix, Geometry(), 0.4, features=60, rng=np.random.default_rng(0)).of(points)
    np.testing.assert_allclose(everyone @ everyone.T, kernel, atol=1e-6)
    some = nystrom_features(matrix, Geometry(), 0.4, features=20, rng=np.random.default_rng(0)).of(points)
    assert np.linalg.eigvalsh(kernel - some @ some.T).min() > -1e-8


def test_nystrom_features_of_copies_end_at_their_rank() -> None:
    matrix = RowMatrix(array=np.repeat(embeddings(4), 5, axis=0))
    assert nystrom_features(matrix, Geometry(), 0.4, features=20, rng=np.random.default_rng(0)).width == 4


def test_blocks_and_rows_on_demand_are_the_same_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpp_ensembles, "FEATURE_BYTES", 64)
    matrix, quality = RowMatrix(array=embeddings(200).astype(np.float16)), np.linspace(0.1, 2, 200)
    rows = FeatureRows(
        matrix=matrix,
        geometry=Geometry(),
        features=fourier_features(6, 0.4, features=32, rng=np.random.default_rng(0)),
        quality=quality,
    )
    blocks = list(rows.blocks())
    assert len(blocks) > 2
    whole = np.concatenate([block for _, _, block in blocks])
    assert whole.dtype == np.float32
    np.testing.assert_allclose(rows.take(np.arange(200)), whole, atol=2e-6)
    np.testing.assert_allclose(gram(rows), whole.T.astype(np.float64) @ whole, atol=1e-4)


def test_conditioning_matrix_and_features_agree_with_the_schur_complement() -> None:
    features, noise = embeddings(30, 12).astype(np.float64), 0.05
    full = features @ features.T
    pool, known = np.arange(20), np.arange(20, 30)
    among = full[np.ix_(known, known)] + noise * np.eye(10)
    cross = full[np.ix_(pool, known)]
    slow = full[np.ix_(pool, pool)] - cross @ np.linalg.inv(among) @ cross.T
    got = conditioned_kernel(full[:20, :20], cross, full[20:, 20:], noise=noise)
    np.testing.assert_allclose(got, slow, atol=1e-10)
    factor = labeled_factor(features[20:].T @ features[20:], noise=noise)
    left = features[:20] @ factor
    np.testing.assert_allclose(left @ left.T, slow, atol=1e-10)


def test_conditioned_dual_and_primal_ensembles_have_the_same_marginals() -> None:
    features, noise = embeddings(30, 12), 0.05
    known = FeatureRows(
        matrix=RowMatrix(array=features[20:]),
        geometry=Geometry(origin=np.zeros(12)),
        features=LinearFeatures(width=12),
    )
    rows = FeatureRows(
        matrix=RowMatrix(array=features[:20]), geometry=known.geometry, features=LinearFeatures(width=12)
    )
    ensemble = dual_ensemble(rows, factor=labeled_factor(gram(known), noise=noise))
    full = features.astype(np.float64) @ features.T.astype(np.float64)
    kernel = conditioned_kernel(full[:20, :20], full[:20, 20:], full[20:, 20:], noise=noise)
    np.testing.assert_allclose(marginals(ensemble, 6), marginals(primal_ensemble(kernel), 6), atol=1e-5)
    np.testing.assert_allclose(ensemble.diagonal(), np.diag(kernel), rtol=1e-4)
    psi = ensemble.feature_rows()(np.arange(20))
    np.testing.assert_allclose(psi @ psi.T, kernel, atol=1e-4)


def test_a_copy_of_a_labeled_row_keeps_only_the_share_of_the_noise() -> None:
    kernel = conditioned_kernel(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), noise=0.01)
    assert kernel[0, 0] == pytest.approx(0.01 / 1.01)


def test_rotating_the_embeddings_leaves_the_kernel_unchanged() -> None:
    rows = embeddings().astype(np.float64)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]
    one, two = (Geometry().place(x) for x in (rows, rows @ turn))
    np.testing.assert_allclose(half_squared_distances(one, one), half_squared_distances(two, two), atol=1e-12)


def test_features_that_are_not_held_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = FeatureRows(
        matrix=RowMatrix(array=embeddings()),
        geometry=Geometry(),
        features=fourier_features(6, 0.4, features=32, rng=np.random.default_rng(0)),
    )
    ensemble, which = dual_ensemble(rows, factor=np.eye(32)), np.array([5, 1, 59])
    held = ensemble.feature_rows()(which)
    monkeypatch.setattr(dpp_ensembles, "HELD_BYTES", 0)
    np.testing.assert_allclose(ensemble.feature_rows()(which), held, atol=1e-6)
