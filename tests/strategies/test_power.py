"""Stochastic top-k draws as it says: first picks in proportion to s^beta, and the limits of beta."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from foresift.core.errors import UnknownNameError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Query
from foresift.scores.registry import SCORES
from foresift.strategies import STRATEGIES, parse
from foresift.strategies.power import Power, gumbel
from foresift.testing import check_strategy

LOGITS = np.float32([[0, 0, 0], [3, 0, 0], [0, 1, 0], [5, 0, 4], [0.5, 0, 0], [0, 2, 2]])
ENTROPY = SCORES.get("entropy")(LOGITS)
WEIGHTS = {
    "power": lambda s, beta: s**beta,
    "softmax": lambda s, beta: np.exp(beta * s),
    "softrank": lambda s, beta: (1 + np.argsort(np.argsort(-s))) ** -beta,
}


def query(logits: np.ndarray, budget: int) -> Query:
    ids = np.arange(len(logits))
    return Query(ids=ids, columns={"logits": logits}, budget=budget, labeled_ids=np.empty(0, dtype=np.int64))


@pytest.mark.parametrize("form", WEIGHTS)
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_the_first_and_the_second_pick_are_drawn_in_proportion(form: str, beta: float) -> None:
    rng, draws = np.random.default_rng(0), 6000
    strategy = Power(beta=beta, form=form)
    picked = [tuple(strategy.pick(query(LOGITS, 2), rng).rows.tolist()) for _ in range(draws)]
    p = WEIGHTS[form](ENTROPY.astype(np.float64), beta)
    p = p / p.sum()
    first = Counter(pair[0] for pair in picked)
    assert chisquare([first[row] for row in range(6)], draws * p).pvalue > 1e-3
    second = Counter(pair[1] for pair in picked)
    q = [sum(p[i] * p[j] / (1 - p[i]) for i in range(6) if i != j) for j in range(6)]
    assert chisquare([second[row] for row in range(6)], draws * np.array(q)).pvalue > 1e-3


def test_a_large_beta_takes_the_largest_scores() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    predictions = Predictions.from_arrays(range(50), logits=logits)
    best = parse("entropy").select(predictions, budget=10).sample_ids.tolist()
    for form in WEIGHTS:
        assert parse(f"power:form={form},beta=1e9").select(predictions, budget=10).sample_ids.tolist() == best


def test_scores_of_zero_come_last_and_in_random_order() -> None:
    logits = np.zeros((40, 2), dtype=np.float32)
    logits[:30, 0] = 1e4  # entropy is exactly 0
    rng = np.random.default_rng(2)
    picks = [Power().pick(query(logits, 40), rng) for _ in range(20)]
    for found in picks:
        assert set(found.rows[:10].tolist()) == set(range(30, 40))
        assert (found.scores[10:] == 0).all()  # type: ignore[index]
    assert len({tuple(found.rows[10:].tolist()) for found in picks}) == 20


def test_gumbel_numbers_have_their_mean_and_variance() -> None:
    numbers = gumbel(200_000, np.random.default_rng(3))
    assert np.isfinite(numbers).all()
    assert numbers.mean() == pytest.approx(0.5772157, abs=0.01)
    assert numbers.var() == pytest.approx(np.pi**2 / 6, abs=0.03)


@pytest.mark.parametrize("spec", ["power:form=softmax", "power:form=softrank,beta=2", "power:score=margin,beta=0.1"])
def test_other_forms_and_scores_obey_the_laws(spec: str) -> None:
    check_strategy(spec)


@pytest.mark.parametrize("parameters", [{"beta": 0.0}, {"beta": float("nan")}, {"beta": -1.0}, {"form": "soft"}])
def test_bad_parameters_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Power(**parameters)  # type: ignore[arg-type]


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnknownNameError):
        Power(score="entropie")
    others = [name for name in SCORES if SCORES.get(name).needs != ("logits",)]
    assert others
    for name in others:
        with pytest.raises(UsageError, match="logits alone"):
            Power(score=name)


def test_negative_scores_are_refused_by_the_power_form_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    negative = SCORES.get("entropy").__class__(
        name="minus", needs=("logits",), formula=lambda z: -z[:, 0].astype(np.float64)
    )
    monkeypatch.setitem(SCORES._entries, "minus", negative)
    rng = np.random.default_rng(4)
    with pytest.raises(UsageError, match="use softmax"):
        Power(score="minus").pick(query(LOGITS, 2), rng)
    assert len(Power(score="minus", form="softmax").pick(query(LOGITS, 2), rng).rows) == 2
    assert "power" in STRATEGIES.names()
