from __future__ import annotations

import numpy as np
import pytest

import foresift
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.scores.ensemble import mutual_information, variation_ratios
from foresift.strategies import STRATEGIES
from foresift.strategies.variation_ratios import VariationRatios
from foresift.testing import STRATEGY_LAWS, check_strategy


def predictions(n: int = 60) -> Predictions:
    logits = np.random.default_rng(1).normal(scale=2, size=(3, n, 4)).astype(np.float32)
    return Predictions.from_arrays([f"s{i:02d}" for i in range(n)], member_logits=logits)


@pytest.mark.parametrize("law", [law for law in STRATEGY_LAWS if law != "ties-by-id"])
def test_ties_by_chance_obey_every_law_but_ties_by_id(law: str) -> None:
    check_strategy("variation-ratios:tie=seeded", laws=[law])


def test_it_takes_the_place_of_the_strategy_made_for_the_score() -> None:
    assert STRATEGIES.get("variation-ratios") is VariationRatios


def test_ties_go_by_mutual_information_then_by_id() -> None:
    made = predictions()
    state, ids = made.column("members"), made.sample_ids.tolist()
    keys = zip((-variation_ratios(state)).tolist(), (-mutual_information(state)).tolist(), ids, strict=True)
    expected = [sample for _, _, sample in sorted(keys)]
    assert foresift.select(made, "variation-ratios", budget=60).sample_ids.tolist() == expected
    assert len(set(variation_ratios(state).tolist())) <= 3


def test_ties_by_chance_follow_the_seed_and_never_outrank_a_larger_ratio() -> None:
    made = predictions()
    picked = [foresift.select(made, "variation-ratios:tie=seeded", budget=60, seed=seed) for seed in (0, 0, 1)]
    assert picked[0].sample_ids.tolist() == picked[1].sample_ids.tolist() != picked[2].sample_ids.tolist()
    for selection in picked:
        assert selection.scores is not None
        assert (np.diff(selection.scores) <= 0).all()
        assert selection.receipt.strategy == "variation-ratios:tie=seeded"


def test_another_tie_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="tie must be mi or seeded, got 'id'"):
        VariationRatios(tie="id")
