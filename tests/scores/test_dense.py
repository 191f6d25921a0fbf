"""Scores of pixels are scores of rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy as reference_entropy

from foresift.core.errors import UsageError
from foresift.scores import SCORES
from foresift.scores.dense import PIXEL_SCORES, score_map


@pytest.mark.parametrize("name", PIXEL_SCORES)
@pytest.mark.parametrize("classes", [2, 5, 40])
def test_a_pixel_scores_as_a_row_of_its_logits(name: str, classes: int) -> None:
    logits = np.random.default_rng(0).normal(size=(3, classes, 6, 7)).astype(np.float32) * 5
    found = score_map(name, logits)
    assert found.shape == (3, 6, 7)
    for b, i, j in ((0, 0, 0), (2, 5, 6), (1, 3, 2)):
        assert found[b, i, j] == SCORES.get(name)(logits[b, :, i, j][None])[0]


def test_entropy_is_that_of_the_softmax() -> None:
    logits = np.random.default_rng(1).normal(size=(4, 3, 5))
    probs = np.exp(logits) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(score_map("entropy", logits), reference_entropy(probs, axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", PIXEL_SCORES)
def test_the_order_of_the_classes_changes_nothing(name: str) -> None:
    logits = np.random.default_rng(2).normal(size=(6, 4, 4))
    np.testing.assert_allclose(score_map(name, logits[::-1]), score_map(name, logits), rtol=1e-12)


def test_what_is_no_score_of_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="logits only"):
        score_map("loss", np.zeros((2, 3, 3)))
    with pytest.raises(UsageError, match=r"\(c, h, w\)"):
        score_map("entropy", np.zeros((2, 3)))
