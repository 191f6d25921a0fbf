"""The last layer is found where there is one, and refused where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.kernels import linear_head as linear_head_module
from foresift.kernels.linear_head import flip_distances, linear_head


def matrix_of(rows: np.ndarray, dtype: str = "f4") -> RowMatrix:
    return RowMatrix(array=rows.astype(dtype))


def layer(n: int = 300, c: int = 4, d: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    embeddings, weights = rng.normal(size=(n, d)) + 1, rng.normal(size=(c, d))
    return embeddings, weights, embeddings @ weights.T + rng.normal(size=c)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("log_probs", [False, True])
def test_weights_are_found_up_to_what_all_classes_share(dtype: str, log_probs: bool) -> None:
    embeddings, weights, logits = layer()
    given = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)) if log_probs else logits
    head = linear_head(matrix_of(embeddings, dtype), matrix_of(given, dtype))
    assert head.checked
    np.testing.assert_allclose(head.weights, weights - weights.mean(axis=0), atol=1e-5 if dtype == "f4" else 5e-3)
    centred = logits - logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(head(embeddings.astype("f4")), centred, atol=1e-4 if dtype == "f4" else 5e-2)


def test_directions_without_variation_get_no_weight() -> None:
    embeddings, weights, _ = layer(d=6)
    embeddings[:, 2] = 0
    embeddings[:, 5] = 7
    head = linear_head(matrix_of(embeddings), matrix_of(embeddings @ weights.T))
    assert np.abs(head.weights[:, [2, 5]]).max() < 1e-5


@pytest.mark.parametrize("kind", ["plain", "copied", "rank two", "wide", "scaled", "nearly flat", "flat", "constant"])
def test_the_fit_is_that_of_singular_values(kind: str) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(120, 12))
    x = {
        "plain": x,
        "copied": np.hstack([x, x[:, :5]]),
        "rank two": x[:, :2] @ rng.normal(size=(2, 30)),
        "wide": rng.normal(size=(20, 50)),
        "scaled": x * 1e6,
        "nearly flat": x * np.where(np.arange(12) < 3, 1e-3, 1),
        "flat": x * np.where(np.arange(12) < 3, 1e-7, 1),
        "constant": np.zeros((120, 12)),
    }[kind]
    z = x @ rng.normal(size=(x.shape[1], 4)) + rng.normal(size=(len(x), 4))
    expected = np.linalg.lstsq(x, z, rcond=linear_head_module.CUT)[0]
    got, _ = linear_head_module._least_squares(x, z)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("how", ["another layer", "noise", "shuffled"])
def test_logits_that_are_not_linear_are_refused(how: str) -> None:
    embeddings, _, logits = layer()
    rng = np.random.default_rng(1)
    wrong = {
        "another layer": np.maximum(embeddings @ rng.normal(size=(10, 20)), 0) @ rng.normal(size=(20, 4)),
        "noise": logits + rng.normal(size=logits.shape) * logits.std() * 0.1,
        "shuffled": logits[::-1],
    }[how]
    with pytest.raises(UsageError, match="linear function of the embeddings"):
        linear_head(matrix_of(embeddings), matrix_of(wrong))


def test_too_few_rows_are_fitted_and_not_checked() -> None:
    embeddings, _, logits = layer(n=8)
    head = linear_head(matrix_of(embeddings), matrix_of(logits))
    assert not head.checked
    np.testing.assert_allclose(head(embeddings.astype("f4")), logits - logits.mean(axis=1, keepdims=True), atol=1e-4)
    one = linear_head(matrix_of(embeddings[:1]), matrix_of(logits[:1]))
    assert not one.weights.any()


def test_predictions_change_at_the_distance_and_not_before() -> None:
    embeddings, _, logits = layer(n=200)
    head = linear_head(matrix_of(embeddings), matrix_of(logits))
    distances = flip_distances(logits.astype("f4"), head)
    weights = head.weights.astype(float)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradients = (probs - np.eye(4)[logits.argmax(axis=1)]) @ weights
    directions = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    for z, step, distance in zip(embeddings, directions, distances.tolist(), strict=True):
        near, far = ((z + t * step) @ weights.T + head.bias for t in (0.999 * distance, 1.001 * distance))
        before = (z @ weights.T + head.bias).argmax()
        assert near.argmax() == before
        assert far.argmax() != before


def test_one_class_and_equal_logits() -> None:
    embeddings, _, logits = layer(c=3)
    head = linear_head(matrix_of(embeddings), matrix_of(logits))
    assert flip_distances(np.zeros((2, 3), dtype="f4"), head).tolist() == [0, 0]
    single = linear_head(matrix_of(embeddings), matrix_of(logits[:, :1]))
    assert np.isinf(flip_distances(np.ones((2, 1), dtype="f4"), single)).all()
