"""Similarities in blocks against their definitions in double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import foresift.core.matrices as matrices
from foresift.core.matrices import RowMatrix
from foresift.kernels import similarities
from foresift.kernels.coverage import SLACK, Coverage
from foresift.kernels.greedy import gains_of, lazy_greedy
from foresift.kernels.similarities import (
    ComputedSimilarity,
    Cosine,
    Gaussian,
    Kernel,
    Prepared,
    keep_largest,
    strongest,
)

Array = npt.NDArray[np.float64]


def cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return max(0.0, float(a @ b) / lengths) if lengths else 0.0


def gaussian(a: Array, b: Array) -> float:
    return float(np.exp(-(((a - b) / 1.7) ** 2).sum()))


KERNELS = [
    (Cosine(), cosine),
    (Gaussian(centre=np.array([100, -50, 3, 0], dtype=np.float32), scale=1.7), gaussian),
]
both = pytest.mark.parametrize(("kernel", "slow"), KERNELS, ids=["cosine", "gaussian"])


def points(n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal(loc=[100, -50, 3, 0], size=(n, 4)).astype(np.float32)


def expected(slow: object, rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> Array:
    return np.array([[slow(a, b) for b in others.astype(float)] for a in rows.astype(float)])  # type: ignore[operator]


def computed(rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32], kernel: Kernel) -> ComputedSimilarity:
    return ComputedSimilarity(
        candidates=Prepared.of(RowMatrix(array=rows), kernel), references=Prepared.of(RowMatrix(array=others), kernel)
    )


@pytest.fixture(params=["in memory", "by blocks"])
def _small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarities, "REFERENCES", 7)
    monkeypatch.setattr(similarities, "CANDIDATES", 3)
    if request.param == "by blocks":
        monkeypatch.setattr(matrices, "IN_MEMORY_BYTES", 0)


@both
@pytest.mark.usefixtures("_small_blocks")
def test_gains_are_what_exceeds_the_coverage(kernel: Kernel, slow: object) -> None:
    rows, others, labeled = points(20), points(33, seed=1), points(5, seed=2)
    similarity = computed(rows, others, kernel)
    covered = np.zeros(33, dtype=np.float32)
    similarity.cover_by(Prepared.of(RowMatrix(array=labeled), kernel), covered)
    np.testing.assert_allclose(covered, expected(slow, labeled, others).max(axis=0), atol=2e-6)
    similarity.cover(4, covered)
    s = expected(slow, rows, others)
    m = np.maximum(expected(slow, labeled, others).max(axis=0), s[4])
    np.testing.assert_allclose(covered, m, atol=2e-6)
    np.testing.assert_allclose(
        gains_of(Coverage(similarity, covered), np.arange(20)), np.maximum(s - m - SLACK, 0).sum(axis=1), atol=1e-4
    )


@both
@pytest.mark.usefixtures("_small_blocks")
def test_the_strongest_similarities_are_stored(kernel: Kernel, slow: object) -> None:
    rows, others = points(30), points(11, seed=1)
    stored = strongest(computed(rows, others, kernel), 4)
    graph, s = stored.graph, expected(slow, rows, others)
    assert stored.missed == pytest.approx(np.sort(s, axis=0)[-4].mean(), abs=2e-6)
    assert strongest(computed(rows, others, kernel), 30).missed == 0
    some = s[graph.sources(), graph.targets]
    sparse = np.zeros_like(s)
    sparse[graph.sources(), graph.targets] = some
    for picks in ([0, 1], [5, 17, 20]):
        unseen = s[picks].max(axis=0).mean() - sparse[picks].max(axis=0).mean()
        assert 0 <= unseen <= stored.missed + 1e-6
    assert np.bincount(graph.targets, minlength=11).tolist() == [4] * 11
    for z in range(11):
        kept = graph.sources()[graph.targets == z]
        cut = np.sort(s[:, z])[-4]
        assert (s[kept, z] >= cut - 1e-5).all()
    np.testing.assert_allclose(graph.weights, s[graph.sources(), graph.targets], atol=2e-6)


@both
def test_all_stored_is_all_computed(kernel: Kernel, slow: object) -> None:
    rows = points(40)
    similarity = computed(rows, rows, kernel)
    a, b = (
        lazy_greedy(Coverage(s, np.zeros(40, dtype=np.float32)), 40) for s in (similarity, strongest(similarity, 40))
    )
    clear = int((a.gains > 1e-4).sum())  # smaller ones are a few SLACK; float32 decides between them
    assert clear >= 10
    assert a.rows[:clear].tolist() == b.rows[:clear].tolist()
    np.testing.assert_allclose(a.gains, b.gains, atol=1e-4)


def test_rows_of_zeros_are_similar_to_nothing_and_lengths_do_not_matter() -> None:
    rows = np.array([[0, 0], [1e-30, 0], [3e30, 0], [0, 2], [-1, 0]], dtype=np.float32)
    ready = Cosine().prepare(rows)
    np.testing.assert_array_equal(
        Cosine()(ready, ready),
        [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]],
    )


def test_rounding_makes_nothing_more_similar_than_itself() -> None:
    for kernel, _ in KERNELS:
        ready = kernel.prepare(points(50))
        assert (kernel(ready, ready) <= 1).all()


def test_largest_of_each_row_with_ties_to_the_left() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, size=(50, 9)).astype(np.float32)
    numbers = np.tile(np.arange(9, dtype=np.int32), (50, 1))
    for k in (0, 1, 4, 9, 12):
        got, which = keep_largest(values, numbers, k)
        for row in range(50):
            order = sorted(range(9), key=lambda column: (-values[row, column], column))[:k]
            assert which[row].tolist() == sorted(order)
            assert got[row].tolist() == values[row, sorted(order)].tolist()
