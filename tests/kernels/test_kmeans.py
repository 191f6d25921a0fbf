"""k-means against plain definitions: fixed points, distinct rows, pools without k different rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels import kmeans as module
from foresift.kernels.kmeans import Clusters, kmeans, kmeans_plus_plus, nearest_unused, representatives


def matrix_of(rows: object) -> RowMatrix:
    return RowMatrix(array=np.asarray(rows, dtype=np.float32))


def blobs(rng: np.random.Generator, n: int = 120, k: int = 4, d: int = 6) -> np.ndarray:
    return (rng.normal(size=(k, d)) * 20)[np.arange(n) % k] + rng.normal(size=(n, d))


def all_distances(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((rows[:, None].astype(float) - centres[None].astype(float)) ** 2).sum(axis=2)


def in_turn(rows: np.ndarray, clusters: Clusters) -> list[int]:
    """The definition of ``nearest_unused``, one loop after the other."""
    sizes = [int((clusters.assignment == j).sum()) for j in range(len(clusters.centres))]
    distances, taken = all_distances(rows, clusters.centres), []
    for j in sorted(range(len(sizes)), key=lambda j: (-sizes[j], j)):
        free = [row for row in range(len(rows)) if row not in taken]
        taken.append(min(free, key=lambda row: (distances[row, j], row)))
    return taken


@pytest.mark.parametrize("offset", [0, 1000])
def test_separate_groups_are_found(offset: float) -> None:
    rng = np.random.default_rng(0)
    rows = blobs(rng) + offset
    clusters = kmeans(matrix_of(rows), 4, rng)
    for group in range(4):
        mine = clusters.assignment[group::4]
        assert (mine == mine[0]).all()
        np.testing.assert_allclose(clusters.centres[mine[0]], rows[group::4].mean(axis=0), atol=2e-3)
    assert clusters.approx == ""
    assert clusters.inertia == pytest.approx(all_distances(rows, clusters.centres).min(axis=1).sum(), rel=1e-3)


def test_every_row_is_with_its_nearest_centre_and_centres_are_near_the_means() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 5)).astype(np.float32)
    clusters = kmeans(matrix_of(rows), 7, rng)
    distances = all_distances(rows, clusters.centres)
    np.testing.assert_array_equal(clusters.assignment, distances.argmin(axis=1))
    assert clusters.sizes.sum() == 200
    means = np.stack([rows[clusters.assignment == j].mean(axis=0) for j in range(7)])
    after = all_distances(rows, means).min(axis=1).sum()
    assert after <= clusters.inertia * (1 + 1e-5)
    assert after >= clusters.inertia * (1 - 1e-3), "passes ended while they still led somewhere"


def test_as_many_clusters_as_rows_and_one_cluster() -> None:
    rows = np.random.default_rng(2).normal(size=(9, 3))
    every = kmeans(matrix_of(rows), 9, np.random.default_rng(0))
    assert every.inertia == 0
    assert sorted(every.assignment.tolist()) == list(range(9))
    one = kmeans(matrix_of(rows), 1, np.random.default_rng(0))
    np.testing.assert_allclose(one.centres[0], rows.mean(axis=0), atol=1e-6)


def test_weights_move_centres_and_rows_without_weight_do_not_count() -> None:
    rng = np.random.default_rng(3)
    rows = blobs(rng)
    weights = (np.arange(120) % 4 < 2) * rng.uniform(0.5, 2, 120)
    clusters = kmeans(matrix_of(rows), 2, rng, weights=weights)
    expected = [np.average(rows[g::4], axis=0, weights=weights[g::4]) for g in (0, 1)]
    got = sorted(clusters.centres.tolist())
    np.testing.assert_allclose(got, sorted(np.array(expected).tolist()), atol=1e-3)
    even = kmeans(matrix_of(rows), 3, np.random.default_rng(0))
    none = kmeans(matrix_of(rows), 3, np.random.default_rng(0), weights=np.zeros(120))
    np.testing.assert_array_equal(even.centres, none.centres)


def test_inertia_is_that_of_scikit_learn_or_near_it() -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(4)
    rows = rng.normal(size=(400, 8)).astype(np.float32)
    ours = np.mean([kmeans(matrix_of(rows), 20, np.random.default_rng(s)).inertia for s in range(5)])
    theirs = np.mean([KMeans(20, n_init=1, random_state=s).fit(rows).inertia_ for s in range(5)])
    assert ours == pytest.approx(theirs, rel=0.03)


@pytest.mark.parametrize("kinds", [1, 3])
def test_fewer_different_rows_than_clusters_still_give_distinct_picks(kinds: int) -> None:
    rows = np.repeat(np.random.default_rng(5).normal(size=(kinds, 4)) * 5, 10, axis=0)
    matrix = matrix_of(rows)
    for k in (kinds, 7, len(rows)):
        k = min(k, len(rows))
        clusters = kmeans(matrix, k, np.random.default_rng(1))
        assert clusters.inertia < 1e-9
        picks = nearest_unused(matrix, clusters)
        assert len(set(picks.tolist())) == k
        assert len(set(kmeans_plus_plus(matrix, k, np.random.default_rng(1)).tolist())) == k
        if k >= kinds:
            assert len({picked // 10 for picked in picks.tolist()}) == kinds, "a kind of row was left out"


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 8), k=st.integers(1, 8), d=st.integers(1, 3), seed=st.integers(0, 1000))
def test_nearest_unused_is_what_its_definition_says(n: int, k: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, size=(n, d)).astype(np.float32)
    k = min(k, n)
    centres = rng.integers(-2, 3, size=(k, d)).astype(np.float32)
    assignment = all_distances(rows, centres).argmin(axis=1)
    clusters = Clusters(centres=centres, assignment=assignment, inertia=0, solver="", approx="")
    assert nearest_unused(matrix_of(rows), clusters).tolist() == in_turn(rows, clusters)


def test_a_centre_without_rows_moves_to_the_row_farthest_from_its_own() -> None:
    rows = np.array([[0], [1], [9], [30]], dtype=np.float32)
    centres = np.array([[0], [5], [500]], dtype=np.float32)
    distances = all_distances(rows, centres)
    nearest, assignment = distances.min(axis=1).astype(np.float32), distances.argmin(axis=1)
    moved = module._moved(matrix_of(rows), np.ones(4), nearest, assignment, centres)
    assert moved.ravel().tolist() == [0.5, 19.5, 30]


def test_representatives_of_all_rows_are_all_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 2))
    every = representatives(matrix_of(rows), 6, np.random.default_rng(0))
    assert every.rows.tolist() == list(range(6))
    some = representatives(matrix_of(rows), 2, np.random.default_rng(0), weights=[0, 0, 1, 1, 0, 0])
    assert set(some.rows.tolist()) == {2, 3}


def test_lists_of_near_rows_that_run_out_are_looked_up_again() -> None:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(300, 2)).astype(np.float32)
    centres = np.repeat(rows[:2], 40, axis=0) + rng.normal(size=(80, 2)).astype(np.float32) * 1e-3
    assignment = all_distances(rows, centres).argmin(axis=1)
    clusters = Clusters(centres=centres, assignment=assignment, inertia=0, solver="", approx="")
    assert nearest_unused(matrix_of(rows), clusters).tolist() == in_turn(rows, clusters)


def test_a_large_pool_is_clustered_by_a_sample_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rows = blobs(rng, n=2000)
    monkeypatch.setattr(module, "WHOLE_WORK", 200 * 4 * 6)
    np.save(tmp_path / "rows.npy", rows.astype(np.float16))
    mapped = RowMatrix(array=np.load(tmp_path / "rows.npy", mmap_mode="r"))
    clusters = kmeans(mapped, 4, rng)
    assert clusters.solver == "lloyd-sample"
    assert "200 of 2000 rows" in clusters.approx
    assert clusters.inertia == pytest.approx(2000 * 6, rel=0.1)
    assert len(clusters.assignment) == 2000


def test_blocks_give_what_one_float32_copy_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = blobs(np.random.default_rng(8), n=400) + 30
    held = kmeans(matrix_of(rows), 5, np.random.default_rng(0))
    monkeypatch.setattr("foresift.core.matrices.IN_MEMORY_BYTES", 0)
    in_blocks = kmeans(matrix_of(rows), 5, np.random.default_rng(0))
    np.testing.assert_array_equal(held.assignment, in_blocks.assignment)
    np.testing.assert_allclose(held.centres, in_blocks.centres, atol=1e-4)


def test_one_seed_gives_one_result_and_another_another() -> None:
    rows = np.random.default_rng(9).normal(size=(100, 4))
    first, second, other = (kmeans(matrix_of(rows), 8, np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.centres, second.centres)
    assert not np.array_equal(first.centres, other.centres)


def test_passes_that_are_cut_short_are_named() -> None:
    rows = np.random.default_rng(10).normal(size=(300, 4))
    assert "stopped after 1" in kmeans(matrix_of(rows), 10, np.random.default_rng(0), max_iterations=1).approx


@pytest.mark.parametrize(
    ("k", "options"),
    [
        (0, {}),
        (6, {}),
        (2, {"max_iterations": 0}),
        (2, {"weights": np.array([1, 1, -1, 1, 1])}),
        (2, {"weights": np.ones(4)}),
        (2, {"weights": np.full(5, np.nan)}),
    ],
)
def test_what_makes_no_sense_is_refused(k: int, options: dict) -> None:
    with pytest.raises(UsageError, match="k-means needs"):
        kmeans(matrix_of(np.eye(5)), k, np.random.default_rng(0), **options)


def test_numbers_that_are_not_finite_are_refused() -> None:
    rows = np.eye(5)
    rows[2, 2] = np.nan
    with pytest.raises(NonFiniteError):
        kmeans(matrix_of(rows), 2, np.random.default_rng(0))
