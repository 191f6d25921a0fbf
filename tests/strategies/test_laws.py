"""Every registered strategy obeys every law; the main ones on many drawn pools too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.predictions import Predictions
from foresift.strategies import STRATEGIES, parse
from foresift.testing import STRATEGY_LAWS, check_strategy, make_predictions
from foresift.testing.examples import with_logits

CHAINS = ["margin:keep=2x+random", "random:keep=5000+entropy:keep=4000+margin", "margin:keep=20x+loss"]
every_strategy = pytest.mark.parametrize("name", [*STRATEGIES.names(), *CHAINS])


@every_strategy
@pytest.mark.parametrize("law", STRATEGY_LAWS)
def test_every_strategy_obeys_every_law(name: str, law: str) -> None:
    check_strategy(name, laws=[law])


@every_strategy
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 30), budget=st.integers(0, 35), seed=st.integers(0, 2**40), data=st.data())
def test_selection_depends_on_samples_and_not_on_rows(
    name: str, n: int, budget: int, seed: int, data: st.DataObject
) -> None:
    strategy, rng = parse(name), np.random.default_rng(seed)
    predictions = _with_ties(make_predictions(rng, n, classes=3))
    labeled = data.draw(st.lists(st.sampled_from(predictions.sample_ids.tolist()), unique=True))
    codes = dict(zip(predictions.sample_ids.tolist(), rng.integers(0, 3, n).tolist(), strict=True))
    picked = []
    for order in (np.arange(n), rng.permutation(n)):
        rows = predictions.take(order)
        selection = strategy.select(
            rows,
            budget=budget,
            seed=seed,
            labeled=labeled,
            labels=[codes[sample] for sample in labeled],
            truth=[codes[sample] for sample in rows.sample_ids.tolist()],
        )
        picked.append(selection.sample_ids.tolist())
    assert picked[0] == picked[1]
    assert len(set(picked[0])) == len(picked[0]) == min(budget, n - len(labeled))
    assert not set(picked[0]) & set(labeled)
    assert selection.receipt.short == (budget > n - len(labeled))


def _with_ties(predictions: Predictions) -> Predictions:
    """Whole logits: many rows tie."""
    return with_logits(predictions, np.round(predictions.column("logits") / 3))
