"""The centroids' gradient against differences of the loss, and what steps lead to."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.matrices import RowMatrix
from foresift.kernels import active_ft as module
from foresift.kernels.active_ft import gradient, learned_centroids, loss, mean_nearest_cosine


def units_of(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f4")


def plain_loss(rows: np.ndarray, centroids: np.ndarray, temperature: float) -> float:
    """The definition, by loops, in float64."""
    pull = np.mean([max(float(f @ t) for t in centroids) / temperature for f in rows])
    k = len(centroids)
    sums = [sum(np.exp(centroids[i] @ centroids[j] / temperature) for i in range(k) if i != j) for j in range(k)]
    return float(np.mean(np.log(sums)) - pull)


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    rows, centroids = units_of(rng, 50, 4), units_of(rng, 5, 4)
    assert loss(rows, centroids, 0.5) == pytest.approx(plain_loss(rows, centroids, 0.5), rel=1e-5)
    got, wide = gradient(rows, centroids, 0.5), centroids.astype(float)
    for at in np.ndindex(5, 4):
        step = np.zeros((5, 4))
        step[at] = 1e-6
        slope = (plain_loss(rows, wide + step, 0.5) - plain_loss(rows, wide - step, 0.5)) / 2e-6
        assert got[at] == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("batch", [4096, 50])
def test_steps_lower_the_loss_on_all_rows(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    rng = np.random.default_rng(1)
    rows, start = units_of(rng, 300, 6), np.arange(10)
    centroids = learned_centroids(RowMatrix(array=rows), start, rng, steps=200, rate=0.003, temperature=0.07)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
    assert loss(rows, centroids, 0.07) < loss(rows, rows[start], 0.07) - 0.1


def test_one_centroid_turns_to_the_mean_direction() -> None:
    rng = np.random.default_rng(2)
    rows = units_of(rng, 200, 3)
    rows[:, 0] = np.abs(rows[:, 0]) + 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    options = {"steps": 2000, "rate": 0.002, "temperature": 0.07}
    centroid = learned_centroids(RowMatrix(array=rows), np.array([0]), rng, **options)[0]
    mean = rows.mean(axis=0)
    assert centroid @ mean / np.linalg.norm(mean) > 0.999


def test_mean_nearest_cosine_is_that_of_loops() -> None:
    rows = units_of(np.random.default_rng(3), 40, 5)
    expected = np.mean([max(float(row @ rows[j]) for j in (1, 8, 30)) for row in rows])
    assert mean_nearest_cosine(RowMatrix(array=rows), np.array([1, 8, 30])) == pytest.approx(expected, abs=1e-5)
