from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from foresift.core.errors import LabelError, NonFiniteError, UsageError
from foresift.kernels.softmax_head import fit_softmax
from foresift.training import fit_head


def predict(head: nn.Module, rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return head(torch.from_numpy(rows.astype(np.float32))).numpy()


def features(digits: Any) -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) grey values on very different scales, some of them constant."""
    scales = np.random.default_rng(0).uniform(0.01, 100, 64)
    return (digits.pixels[..., 0].reshape(-1, 64) * scales + 7).astype(np.float32), digits.codes


def test_minimum_is_the_one_of_scikit_learn(digits: Any) -> None:
    rows = (digits.pixels[:300, ..., 0].reshape(-1, 64) / 255).astype(float)
    codes, l2 = digits.codes[:300], 0.01
    both = fit_softmax(rows, codes, classes=10, l2=l2)
    peer = LogisticRegression(C=1 / (l2 * len(rows)), tol=1e-9, max_iter=5000).fit(rows, codes)
    np.testing.assert_allclose(both[:, :-1], peer.coef_, atol=2e-3)


@pytest.mark.parametrize(("kind", "floor"), [("linear", 0.0), ("mlp:64", 0.01)])
def test_as_accurate_as_scikit_learn_on_raw_embeddings(digits: Any, kind: str, floor: float) -> None:
    rows, codes = features(digits)
    head = fit_head(rows[:1347], codes[:1347], classes=10, head=kind)
    centred = (rows - rows[:1347].mean(0)) / np.maximum(rows[:1347].std(0), 1e-8)
    peer = LogisticRegression(max_iter=2000).fit(centred[:1347], codes[:1347])
    ours = np.mean(predict(head, rows[1347:]).argmax(1) == codes[1347:])
    assert ours >= peer.score(centred[1347:], codes[1347:]) - 0.01 + floor


@pytest.mark.parametrize(("kind", "type_"), [("linear", nn.Linear), ("mlp:8", nn.Sequential)])
def test_same_seed_same_head_and_the_random_state_is_left_alone(digits: Any, kind: str, type_: type) -> None:
    rows, codes = features(digits)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    heads = [fit_head(rows[:200], codes[:200], classes=10, head=kind, seed=seed) for seed in (1, 1)]
    assert type(heads[0]) is type_
    first, second = (head.state_dict() for head in heads)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(value.dtype == torch.float32 for value in first.values())
    assert torch.equal(torch_before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("kind", ["linear", "mlp:8"])
def test_an_absent_class_is_never_predicted(digits: Any, kind: str) -> None:
    rows, codes = features(digits)
    kept = codes[:400] != 3
    head = fit_head(rows[:400][kept], codes[:400][kept], classes=10, head=kind)
    logits = predict(head, rows[400:600])
    assert logits.shape == (200, 10)
    assert np.isfinite(logits).all()
    assert not (logits.argmax(1) == 3).any()


@pytest.mark.parametrize("kind", ["linear", "mlp:4"])
def test_two_samples_are_enough(kind: str) -> None:
    rows = np.array([[0.0, 1.0], [1.0, 1.0]], np.float32)
    head = fit_head(rows, np.array([0, 1]), classes=2, head=kind)
    np.testing.assert_array_equal(predict(head, rows).argmax(1), [0, 1])


def test_bad_input() -> None:
    rows, codes = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(UsageError, match="2 classes"):
        fit_head(rows, codes * 0, classes=1)
    with pytest.raises(LabelError, match="outside"):
        fit_head(rows, codes + 1, classes=2)
    with pytest.raises(UsageError, match="head must be"):
        fit_head(rows, codes, classes=2, head="cnn:3")
    rows[2, 1] = np.nan
    with pytest.raises(NonFiniteError, match="row 2"):
        fit_head(rows, codes, classes=2)
