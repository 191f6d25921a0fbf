"""A row at a time: the same scores as of arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foresift.app.fleet.device import DEVICE_SCORES
from foresift.scores.single import SINGLE, score_of_row


def test_every_score_of_a_device_has_its_plain_form() -> None:
    assert set(SINGLE) == set(DEVICE_SCORES)


@pytest.mark.parametrize("name", sorted(SINGLE))
@pytest.mark.parametrize("classes", [2, 3, 10, 64])
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 60.0])
def test_a_row_scores_as_in_an_array(name: str, classes: int, scale: float) -> None:
    logits = (scale * np.random.default_rng(0).normal(size=(50, classes))).astype(np.float32)
    logits[0] = logits[0, ::-1]
    logits[1, :2] = logits[1].max() + 1  # two are largest
    expected = DEVICE_SCORES[name].formula(logits.astype(np.float64))
    found = [score_of_row(name, row.tolist()) for row in logits]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
    in_float32 = DEVICE_SCORES[name].formula(logits)
    np.testing.assert_allclose(found, in_float32, rtol=3e-5, atol=1e-30)


@pytest.mark.parametrize("name", sorted(SINGLE))
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_seen(name: str, wrong: float) -> None:
    for at in range(3):
        row = [1.0, 2.0, 3.0]
        row[at] = wrong
        assert math.isnan(score_of_row(name, row))
