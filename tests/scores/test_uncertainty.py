"""Scores against independent, slow definitions in float64, and the pitfalls seen elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foresift.core.errors import UsageError
from foresift.scores import SCORES, Score
from foresift.scores.loss import loss
from foresift.scores.uncertainty import entropy, least_confidence, margin, ratio

Array = np.ndarray[Any, Any]
ALL = [entropy, least_confidence, margin, ratio]
matrices = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.sampled_from([2, 3, 10, 40])), elements=st.floats(-30, 30)
)


def slow_entropy(probs: Array) -> Array:
    return np.asarray(scipy.stats.entropy(probs, axis=1))


def slow_least_confidence(probs: Array) -> Array:
    return np.array([1 - max(row) for row in probs])


def slow_margin(probs: Array) -> Array:
    return np.array([1 - (max(row) - sorted(row)[-2]) for row in probs])


def slow_ratio(probs: Array) -> Array:
    return np.array([sorted(row)[-2] / max(row) for row in probs])


@pytest.mark.parametrize(
    ("score", "slow"),
    [
        (entropy, slow_entropy),
        (least_confidence, slow_least_confidence),
        (margin, slow_margin),
        (ratio, slow_ratio),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
@given(logits=matrices)
def test_scores_are_their_definitions(score: Score, slow: Callable[[Array], Array], logits: Array) -> None:
    expected = slow(scipy.special.softmax(logits, axis=1))
    np.testing.assert_allclose(score(logits), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(score(logits.astype(np.float32)), expected, rtol=2e-4, atol=2e-5)


@given(matrices)
def test_scores_stay_in_their_ranges(logits: Array) -> None:
    c = logits.shape[1]
    for score, highest in ((entropy, np.log(c)), (least_confidence, 1 - 1 / c), (margin, 1), (ratio, 1)):
        for values in (score(logits), score(logits.astype(np.float32))):
            assert (values >= 0).all()
            assert (values <= highest + 1e-6).all()


@given(st.lists(st.integers(0, 320), min_size=2, max_size=30, unique=True))
def test_two_classes_have_one_ranking(gaps: list[int]) -> None:
    logits = np.array([[gap / 16, 0] for gap in gaps])
    rankings = {tuple(np.argsort(-score(logits), kind="stable").tolist()) for score in ALL}
    assert rankings == {tuple(np.argsort(gaps, kind="stable").tolist())}


@pytest.mark.parametrize("score", ALL, ids=lambda s: s.name)
def test_order_holds_where_the_top_probability_rounds_to_one(score: Score) -> None:
    logits = np.array([[gap, 0, 0] for gap in (20, 30, 40, 60, 80)], dtype=np.float32)
    assert (scipy.special.softmax(logits, axis=1)[:, 0] == 1).all()
    assert (np.diff(score(logits)) < 0).all()


def test_one_class_is_certain() -> None:
    logits = np.array([[3.0], [-1e4]])
    assert entropy(logits).tolist() == [0, 0]
    assert least_confidence(logits).tolist() == [0, 0]
    assert loss(logits, np.array([0, 0])).tolist() == [0, 0]


@pytest.mark.parametrize("score", [margin, ratio], ids=lambda s: s.name)
def test_one_class_has_no_second(score: Score) -> None:
    with pytest.raises(UsageError, match="one class only"):
        score(np.zeros((3, 1)))


@pytest.mark.parametrize("score", ALL, ids=lambda s: s.name)
def test_certain_samples_come_last_where_p_log_p_is_nan(score: Score) -> None:
    """Softmax then p * log(p) gives NaN at p = 0, and sorting in torch puts NaN first."""
    logits = np.array([[1e4, -1e4, 0], [0.1, 0, 0.05]], dtype=np.float32)
    values = score(logits)
    assert values[0] == 0
    assert values[1] > 0.5


@pytest.mark.parametrize("classes", [3, 200])
@pytest.mark.parametrize("score", ALL, ids=lambda s: s.name)
def test_permuting_classes_changes_only_rounding(score: Score, classes: int) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, classes))
    np.testing.assert_allclose(score(logits), score(logits[:, rng.permutation(classes)]), rtol=1e-12)


@given(matrices, st.data())
def test_loss_is_cross_entropy(logits: Array, data: st.DataObject) -> None:
    n, c = logits.shape
    truth = np.array(data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n)))
    expected = [scipy.special.logsumexp(row) - row[code] for row, code in zip(logits, truth, strict=True)]
    np.testing.assert_allclose(loss(logits, truth), expected, rtol=1e-9, atol=1e-12)


def test_small_losses_keep_their_order() -> None:
    logits = np.array([[20, 0], [30, 0], [40, 0]], dtype=np.float32)
    values = loss(logits, np.zeros(3, dtype=np.int64))
    np.testing.assert_allclose(values, np.exp([-20.0, -30.0, -40.0]), rtol=1e-6)


@pytest.mark.parametrize("truth", [[0, 3], [-1, 0], [0.5, 0.5]])
def test_loss_refuses_codes_without_a_column(truth: list[float]) -> None:
    with pytest.raises(UsageError, match=r"within 0 \.\. 2"):
        loss(np.zeros((2, 3)), np.array(truth))


def test_scores_stream_float16_from_disk(tmp_path: Any) -> None:
    n, c = 3_000, 500
    stored = np.memmap(tmp_path / "logits", dtype=np.float16, mode="w+", shape=(n, c))
    stored[:] = np.random.default_rng(0).normal(size=(n, c))
    expected = slow_margin(scipy.special.softmax(np.array(stored, dtype=np.float64), axis=1)[:50])
    values = margin(stored)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[:50], expected, rtol=1e-5)


def test_memory_depends_on_the_block_and_not_on_the_pool() -> None:
    import tracemalloc

    logits = np.zeros((40_000, 100), dtype=np.float16)
    margin(logits[:10])
    tracemalloc.start()
    margin(logits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20, "float32 copies of all rows are 16 MiB each"


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match=r"loss takes equally long logits, truth, got lengths \[3, 2\]"):
        loss(np.zeros((3, 2)), np.zeros(2, dtype=np.int64))
    with pytest.raises(UsageError, match="got lengths"):
        SCORES.get("margin")()
