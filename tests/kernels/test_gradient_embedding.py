"""Distances from two factors are those between gradients written out in full."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from foresift.core.errors import NonFiniteError
from foresift.core.matrices import RowMatrix
from foresift.kernels import gradient_embedding as module
from foresift.kernels.gradient_embedding import GradientPoints, TopClasses, gradient_factor, loss_gradients


def written_out(logits: np.ndarray, embeddings: np.ndarray, *, bias: bool = False) -> np.ndarray:
    """(n, c d) gradients by the definition, in float64."""
    gradients = []
    for z, h in zip(logits.astype(float), embeddings.astype(float), strict=True):
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        p[np.argmax(z)] -= 1
        gradients.append(np.outer(p, np.append(h, 1.0) if bias else h).ravel())
    return np.array(gradients)


def explicit(gradients: np.ndarray) -> np.ndarray:
    return ((gradients[:, None] - gradients[None]) ** 2).sum(axis=2)


def example(n: int = 40, c: int = 5, d: int = 12, scale: float = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, c)) * 2).astype("f4"), (rng.normal(size=(n, d)) * scale + scale).astype("f4")


def points_of(logits: np.ndarray, embeddings: np.ndarray, *, bias: bool = False) -> GradientPoints:
    return GradientPoints(gradient_factor(RowMatrix(array=logits)), RowMatrix(array=embeddings), bias=bias)


@pytest.fixture(params=["held", "from logits"])
def _reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "from logits":
        monkeypatch.setattr(module, "HELD_BYTES", 0)
        monkeypatch.setattr("foresift.core.matrices.IN_MEMORY_BYTES", 0)
    return


@pytest.mark.usefixtures("_reading")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_two_factors_give_the_distances_between_whole_gradients(bias: bool, scale: float) -> None:
    logits, embeddings = example(scale=scale)
    embeddings[7] = embeddings[3] * np.float32(1.01)  # near copies: where norms and products cancel
    logits[7] = logits[3] + np.float32([0.02, -0.02, 0, 0, 0])
    gradients = written_out(logits, embeddings, bias=bias)
    expected = explicit(gradients)
    points = points_of(logits, embeddings, bias=bias)
    np.testing.assert_allclose(points.squared_norms, (gradients**2).sum(axis=1), rtol=1e-5)
    every = np.arange(40)
    np.testing.assert_allclose(points.between(every), expected, rtol=2e-5, atol=0)
    picks = np.array([3, 11, 20])
    got = np.concatenate([distances for _, _, distances in points.to_nearest(picks)])
    np.testing.assert_allclose(got, expected[:, picks].min(axis=1), rtol=2e-5, atol=0)


def test_copies_are_at_exactly_zero() -> None:
    logits, embeddings = (np.repeat(part, 3, axis=0) for part in example(n=50, d=64))
    points = points_of(logits, embeddings)
    got = np.concatenate([distances for _, _, distances in points.to_nearest(np.arange(0, 150, 3))])
    assert not got.any()


def test_loss_gradients_sum_to_nothing_and_keep_their_digits_near_certainty() -> None:
    logits = np.array([[0, 40, 0], [60, 0, 20], [1, 1, 1]], dtype=np.float32)
    gradients = loss_gradients(logits)
    np.testing.assert_allclose(gradients.sum(axis=1), 0, atol=1e-7)
    np.testing.assert_allclose(gradients[0], [np.exp(-40), -2 * np.exp(-40), np.exp(-40)], rtol=1e-5)
    np.testing.assert_allclose(gradients[1, 0], -np.exp(-40), rtol=1e-5)
    np.testing.assert_allclose(gradients[2], [-2 / 3, 1 / 3, 1 / 3], rtol=1e-6)


def test_top_classes_keep_the_largest_entries_and_say_what_was_lost() -> None:
    logits, embeddings = example(c=8)
    whole = loss_gradients(logits)
    every = TopClasses(RowMatrix(array=logits), 8)
    np.testing.assert_array_equal(every.take(np.arange(40)), whole)
    assert every.dropped == 0
    top = TopClasses(RowMatrix(array=logits), 3)
    kept = top.take(np.arange(40))
    lost = np.sort(np.abs(whole), axis=1)[:, :5]
    np.testing.assert_allclose(np.abs(whole - kept).sum(axis=1), lost.sum(axis=1), rtol=1e-5)
    assert top.dropped == pytest.approx(((lost**2).sum(axis=1) / (whole**2).sum(axis=1)).max(), rel=1e-3)
    points = GradientPoints(top, RowMatrix(array=embeddings), bias=False)
    gradients = (kept[:, :, None].astype(float) * embeddings[:, None, :]).reshape(40, -1)
    np.testing.assert_allclose(points.between(np.arange(40)), explicit(gradients), rtol=2e-5)
    got = np.concatenate([distances for _, _, distances in points.to_nearest(np.array([5, 6]))])
    np.testing.assert_allclose(got, explicit(gradients)[:, [5, 6]].min(axis=1), rtol=2e-5)


def test_numbers_that_are_not_finite_are_refused() -> None:
    logits, embeddings = example()
    embeddings[4, 4] = np.inf
    with pytest.raises(NonFiniteError):
        points_of(logits, embeddings)
