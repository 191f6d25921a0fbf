"""Folds, standardisation and out-of-fold predictions against naive loops; the fit itself is held in tests/training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from foresift.core.matrices import RowMatrix
from foresift.kernels import softmax_head as module
from foresift.kernels.softmax_head import (
    Standard,
    balanced_accuracy,
    out_of_fold,
    softmax_head,
    standard_of,
    stratified_folds,
)


@settings(max_examples=50, deadline=None)
@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=60), folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_every_class_is_spread_evenly_over_the_folds_and_no_fold_is_favoured(
    codes: list[int], folds: int, seed: int
) -> None:
    given_codes = np.array(codes)
    chosen = stratified_folds(given_codes, folds, np.random.default_rng(seed))
    for part in [*(chosen[given_codes == code] for code in set(codes)), chosen]:
        sizes = np.bincount(part, minlength=folds)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1


def test_standardising_takes_the_rows_of_all_matrices_and_spares_what_does_not_vary() -> None:
    rows = np.random.default_rng(0).normal(loc=5, scale=[1, 100, 0, 1e-3], size=(40, 4)).astype("f4")
    standard = standard_of([RowMatrix(array=rows[:30]), RowMatrix(array=rows, rows=np.arange(30, 40))])
    np.testing.assert_allclose(standard.mean, rows.astype(float).mean(axis=0), rtol=1e-12)
    moved = standard(rows)
    np.testing.assert_allclose(moved[:, [0, 1, 3]].std(axis=0), 1, rtol=1e-9)
    assert not moved[:, 2].any()


def test_a_row_is_predicted_by_a_head_that_has_not_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows, codes = rng.normal(size=(20, 3)).astype("f4"), rng.integers(0, 3, 20)
    folds, plain = rng.integers(0, 4, 20), Standard(mean=np.zeros(3), spread=np.ones(3))
    expected = []
    for row in range(20):
        others = [other for other in range(20) if folds[other] != folds[row]]
        head = softmax_head(rows[others], codes[others], classes=3, standard=plain)
        expected.append(int(head(rows[row : row + 1])[0].argmax()))
    assert out_of_fold(rows, codes, folds, classes=3, standard=plain).tolist() == expected
    fits: list[int] = []
    monkeypatch.setattr(
        module,
        "fit_softmax",
        lambda x, y, **_: fits.append(len(x)) or np.zeros((3, 4)),  # type: ignore[func-returns-value]
    )
    out_of_fold(rows, codes, folds, classes=3, standard=plain)
    assert fits == [20 - int((folds == fold).sum()) for fold in range(4)]


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    codes, predicted = rng.choice([0, 2, 3], 50), rng.integers(0, 5, 50)
    with np.errstate(all="raise"):
        ours = balanced_accuracy(predicted, codes)
    recalls = [np.mean(predicted[codes == code] == code) for code in (0, 2, 3)]
    assert ours == pytest.approx(np.mean(recalls))
    assert balanced_accuracy(codes, codes) == balanced_accuracy_score(codes, codes) == 1


def test_logits_in_blocks_are_those_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 4)).astype("f4")
    head = softmax_head(rows[:30], rng.integers(0, 3, 30), classes=3, standard=standard_of([RowMatrix(array=rows)]))
    monkeypatch.setattr("foresift.core.matrices.BLOCK_BYTES", 1)
    np.testing.assert_allclose(head.over(RowMatrix(array=rows)), head(rows), rtol=1e-5, atol=1e-6)
