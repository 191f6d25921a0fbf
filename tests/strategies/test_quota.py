"""Quotas: shares that hold, against the definition written out for a ranking."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.strategies import Strategy, parse
from foresift.testing import make_predictions


def pool(n: int, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    made = make_predictions(rng, n, classes=4)
    groups = np.array(["", "a", "b", "c"], dtype=np.str_)[rng.integers(0, 4, n)]
    return replace(made, columns={**made.columns, "groups": Column(values=groups)})


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40),
    budget=st.integers(1, 40),
    by=st.sampled_from(["class", "group"]),
    shares=st.tuples(st.sampled_from([0.0, 0.1, 0.25]), st.sampled_from([0.25, 0.3, 0.5, 1.0])),
    seed=st.integers(0, 99),
)
def test_quotas_of_a_ranking_are_those_of_the_definition(
    n: int, budget: int, by: str, shares: tuple[float, float], seed: int
) -> None:
    data, (least, most) = pool(n, seed), shares
    strategy = parse(f"quota:of=margin,by={by},least={least},most={most}")
    got = strategy.select(data, budget=budget)
    kinds: dict[str, object] = dict(
        zip(
            data.sample_ids.tolist(),
            (data.column("logits").argmax(axis=1) if by == "class" else data.column("groups")).tolist(),
            strict=True,
        )
    )
    order = parse("margin").select(data, budget=n).sample_ids.tolist()
    k = min(budget, n)
    floor, cap = int(least * k + 1e-9), max(1, int(most * k + 1e-9))
    bound = sorted({kind for kind in kinds.values() if kind != ""}, key=str)
    taken = [s for kind in bound for s in [x for x in order if kinds[x] == kind][:floor]]
    for sample in order:
        mates = sum(kinds[x] == kinds[sample] for x in taken)
        if len(taken) < k and sample not in taken and (kinds[sample] == "" or mates < cap):
            taken.append(sample)
    beyond = k - len(taken)
    taken += [x for x in order if x not in taken][:beyond]
    assert set(got.sample_ids.tolist()) == set(taken)
    assert got.receipt.details["beyond_most"] == beyond
    assert got.receipt.details["most"] == cap


@pytest.mark.parametrize("of", ["random", "margin", "class-balanced"])
def test_shares_hold_for_any_strategy(of: str) -> None:
    data = pool(200)
    got = parse(f"quota:of={of},by=group,least=0.2,most=0.3").select(data, budget=30, seed=1)
    groups = dict(zip(data.sample_ids.tolist(), data.column("groups").tolist(), strict=True))
    counts = Counter(groups[sample] for sample in got.sample_ids.tolist())
    assert all(6 <= counts[name] <= 9 for name in "abc")
    assert len(got) == 30


def test_least_shares_that_do_not_fit_go_round() -> None:
    data = Predictions.from_arrays(range(12), logits=np.repeat(np.eye(4), 3, axis=0))
    got = parse("quota:least=0.5,most=0.5").select(data, budget=6)
    assert Counter(sample // 3 for sample in got.sample_ids.tolist()) == {0: 2, 1: 2, 2: 1, 3: 1}


@pytest.mark.parametrize(
    "wrong", ["by=site", "least=0.6,most=0.5", "most=0", "most=1.5", "least=-0.1", "of=random/x=1"]
)
def test_wrong_quotas_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        parse(f"quota:{wrong}")


def test_groups_are_asked_for() -> None:
    strategy: Strategy = parse("quota:by=group")
    assert strategy.needs == ("logits", "groups")
    data = Predictions.from_arrays([1, 2], logits=np.zeros((2, 2)))
    with pytest.raises(MissingColumnError, match="groups"):
        strategy.select(data, budget=1)
