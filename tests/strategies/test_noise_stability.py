"""Both modes against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest

import foresift
from foresift.core.errors import UsageError
from foresift.core.predictions import Column, Predictions
from foresift.strategies import parse

DEVIATIONS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
POOL = Predictions(sample_ids=np.arange(40), columns={"deviations": Column(values=DEVIATIONS)})


def test_variance_is_the_mean_square_over_the_draws() -> None:
    selection = foresift.select(POOL, "noise-stability:draws=3", budget=40)
    squares = [sum(float(x) ** 2 for x in row) / 3 for row in DEVIATIONS]
    assert selection.sample_ids.tolist() == sorted(range(40), key=lambda row: -squares[row])
    np.testing.assert_allclose(selection.scores, sorted(squares, reverse=True), rtol=1e-6)


def test_kcenter_starts_with_the_longest_and_goes_on_with_the_farthest() -> None:
    picked = [int(np.argmax(np.linalg.norm(DEVIATIONS, axis=1)))]
    while len(picked) < 8:
        nearest = [min(np.linalg.norm(row - DEVIATIONS[p]) for p in picked) for row in DEVIATIONS]
        picked.append(int(np.argmax(nearest)))
    assert foresift.select(POOL, "noise-stability:mode=kcenter", budget=8).sample_ids.tolist() == picked


def test_a_constant_network_gives_ties_by_id() -> None:
    zeros = Predictions(sample_ids=np.arange(5), columns={"deviations": Column(values=np.zeros((5, 4), np.float32))})
    for mode in ("variance", "kcenter"):
        assert foresift.select(zeros, f"noise-stability:mode={mode}", budget=5).sample_ids.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", ["mode=both", "draws=0", "xi=0", "of=probs", "scale=no", "noise_seed=-1"])
def test_parameters_out_of_range_are_refused(bad: str) -> None:
    with pytest.raises(UsageError, match=bad.partition("=")[0]):
        parse(f"noise-stability:{bad}")
