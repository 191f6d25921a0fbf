"""Strategies that rank only a part, or cover what is left, beside guards and the control arm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import foresift
from foresift.core.predictions import Column, Predictions
from foresift.strategies import parse
from foresift.testing import make_predictions


def predictions(n: int = 200) -> Predictions:
    return make_predictions(np.random.default_rng(5), n, classes=4)


def test_a_subset_goes_with_a_control_arm_and_with_guards() -> None:
    pool = predictions()
    for options in ({"control": 0.2}, {"guards": {"min_distance": 0.01}}):
        chosen = foresift.select(pool, "loss-prediction:subset=50", budget=10, **options)  # type: ignore[arg-type]
        assert len(set(chosen.sample_ids.tolist())) == 10


def test_noise_stability_covers_what_labels_and_the_control_arm_left() -> None:
    rng = np.random.default_rng(0)
    ids = np.arange(41)
    deviations = np.concatenate([rng.normal([9, 0], 0.01, size=(20, 2)), rng.normal([-8, 0], 0.01, size=(21, 2))])
    column = Column(values=deviations.astype(np.float32))
    pool = Predictions(sample_ids=ids, columns={"deviations": column})
    near = foresift.select(pool, "noise-stability:mode=kcenter", budget=1).sample_ids[0]
    far = foresift.select(pool, "noise-stability:mode=kcenter", budget=1, labeled=[near]).sample_ids[0]
    assert near < 20 <= far


def test_the_first_score_of_core_gcn_does_not_depend_on_the_budget() -> None:
    pool = predictions(30)
    scores = [parse("core-gcn").select(pool, budget=budget).scores for budget in (1, 2, 5)]
    assert scores[0][0] == scores[1][0] == scores[2][0] > 0


@pytest.mark.parametrize("odd", ["--5", "99999999999999999999999", "img", "-", "٣"])
def test_ids_of_another_kind_are_none_of_the_pools(odd: str) -> None:
    pool = Predictions.from_arrays(np.arange(20), embeddings=np.random.default_rng(0).normal(size=(20, 3)))
    held_out = Predictions.from_arrays(["3", odd], embeddings=np.ones((2, 3)))
    chosen = foresift.select(pool, "random", budget=19, guards={"validation": held_out})
    assert 3 not in chosen.sample_ids.tolist()
    assert len(chosen) == 19


def test_a_head_seen_in_part_is_said() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 20))
    pool = Predictions.from_arrays(np.arange(400), embeddings=X, logits=X @ rng.normal(size=(20, 4)))
    said = foresift.select(pool, "drop-query", budget=5).receipt.approx
    assert "known in 6 of 20 directions" in said
    whole = replace(pool, columns={**pool.columns})
    labeled, labels = [1, 2, 3, 4], [0, 1, 2, 3]
    mixed = foresift.select(whole, "alfa-mix", budget=5, labeled=labeled, labels=labels).receipt.approx
    assert "known in 6 of 20 directions" in mixed


def test_embeddings_whose_distances_overflow_are_refused() -> None:
    X = (np.random.default_rng(0).normal(size=(50, 4)) * 6e18).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(foresift.ForesiftError, match="too large"):
        foresift.select(Predictions.from_arrays(np.arange(50), embeddings=X), "typiclust", budget=5)
