import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from foresift.core.errors import LabelError, UsageError
from foresift.training import evaluate


def case(seed: int, n: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=(n, c)).astype(np.float32), rng.integers(0, c, n)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def slow_ece(logits: np.ndarray, codes: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, eq. 3, sample by sample."""
    probs = softmax(logits)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == codes
    error = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [i for i in range(len(codes)) if low < confidence[i] <= high]
        if inside:
            error += len(inside) / len(codes) * abs(np.mean(right[inside]) - np.mean(confidence[inside]))
    return error


@given(seed=st.integers(0, 999), n=st.integers(1, 60), c=st.integers(2, 12))
def test_against_the_definitions(seed: int, n: int, c: int) -> None:
    logits, codes = case(seed, n, c)
    found = evaluate(logits, codes)
    names = list(range(c))
    assert found["n"] == n
    assert found["top1"] == np.mean(logits.argmax(axis=1) == codes)
    order = np.argsort(-logits, axis=1)[:, :5]
    assert found["top5"] == np.mean((order == codes[:, None]).any(axis=1))
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(codes, logits.argmax(1), labels=names))
    assert found["cross_entropy"] == pytest.approx(log_loss(codes, softmax(logits), labels=names), rel=1e-5)
    assert found["ece"] == pytest.approx(slow_ece(logits, codes), abs=1e-5)
    for name in names:
        of_class = logits[codes == name].argmax(axis=1) == name
        assert found["per_class"][name] == (pytest.approx(of_class.mean()) if of_class.size else None)


def test_top5_against_scikit_learn() -> None:
    logits, codes = case(1, 300, 9)
    expected = top_k_accuracy_score(codes, logits, k=5, labels=range(9))
    assert evaluate(logits, codes)["top5"] == pytest.approx(expected)


def test_values_are_plain_json_even_with_absent_classes() -> None:
    found = evaluate(np.eye(4, dtype=np.float32)[:2], np.array([0, 1]))
    assert found["per_class"] == [1.0, 1.0, None, None]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_bad_input() -> None:
    logits, codes = case(0, 5, 3)
    for bad_logits, bad_codes in ((logits[:0], codes[:0]), (logits[:, :1], codes), (logits, codes[:2])):
        with pytest.raises(UsageError):
            evaluate(bad_logits, bad_codes)
    with pytest.raises(LabelError, match="labeled rows only"):
        evaluate(logits, np.array([0, 1, 2, -1, 0]))
