"""The budget over predicted classes, against the definition written out pick by pick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import UnknownNameError, UsageError
from foresift.core.predictions import Predictions
from foresift.kernels.filling import fill_order
from foresift.strategies import parse, spelling
from foresift.testing import check_strategy, make_predictions


def pool(n: int, *, classes: int = 5, seed: int = 0) -> Predictions:
    made = make_predictions(np.random.default_rng(seed), n, classes=classes)
    made.column("logits").flags.writeable = False
    return made


@settings(max_examples=50, deadline=None)
@given(
    levels=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    room=st.lists(st.integers(0, 6), min_size=6, max_size=6),
)
def test_the_emptiest_fill_first(levels: list[int], room: list[int]) -> None:
    space = np.array(room[: len(levels)])
    now, left, expected = list(levels), space.tolist(), []
    for _ in range(int(space.sum())):
        vessel = min((v for v in range(len(now)) if left[v]), key=lambda v: (now[v], v))
        expected.append(vessel)
        now[vessel] += 1
        left[vessel] -= 1
    for k in (0, len(expected) // 2, len(expected)):
        assert fill_order(np.array(levels), space, k).tolist() == expected[:k]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), budget=st.integers(1, 40), c=st.integers(2, 5), seed=st.integers(0, 99))
def test_each_pick_is_the_best_of_the_class_with_the_fewest_labels(n: int, budget: int, c: int, seed: int) -> None:
    data = pool(n, classes=c, seed=seed)
    labeled = sorted(data.sample_ids.tolist())[::4]
    labels = np.random.default_rng(seed).integers(0, c, len(labeled)).tolist()
    got = parse("class-balanced:of=margin").select(data, budget=budget, labeled=labeled, labels=labels)
    order = parse("margin").select(data, budget=n, labeled=labeled).sample_ids.tolist()
    predicted = dict(zip(data.sample_ids.tolist(), data.column("logits").argmax(axis=1).tolist(), strict=True))
    have = [labels.count(code) for code in range(c)]
    expected: list[str] = []
    while len(expected) < min(budget, len(order)):
        left = [sample for sample in order if sample not in expected]
        code = min({predicted[sample] for sample in left}, key=lambda x: (have[x], x))
        expected.append(next(sample for sample in left if predicted[sample] == code))
        have[code] += 1
    assert got.sample_ids.tolist() == expected
    assert not expected or got.receipt.details["labels_counted"]


def test_labels_in_hand_count_only_where_they_are_given() -> None:
    logits = np.array([[1, 0], [1.5, 0], [0, 1], [0, 1.5], [9, 0], [9, 0]])
    data = Predictions.from_arrays(list("abcdxy"), logits=logits)
    counted = parse("class-balanced").select(data, budget=2, labeled=["x", "y"], labels=[0, 0])
    assert counted.sample_ids.tolist() == ["c", "d"]
    unknown = parse("class-balanced").select(data, budget=2, labeled=["x", "y"])
    assert unknown.sample_ids.tolist() == ["a", "c"]
    assert not unknown.receipt.details["labels_counted"]


def test_a_class_that_runs_out_is_said_and_the_others_share_the_rest() -> None:
    logits = np.array([[0, 1, 0.5]] + [[1, 0, 0]] * 9)
    data = Predictions.from_arrays(range(10), logits=logits)
    got = parse("class-balanced").select(data, budget=6)
    assert got.receipt.details == {"labels_counted": False, "picks_of_class": {"0": 5, "1": 1}, "ran_out": [1, 2]}
    assert len(got) == 6


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("class-balanced", "class-balanced:of=margin"),
        ("class-balanced:of=RandomSampling", "class-balanced:of=random"),
        ("margin:keep=20+class-balanced:of=entropy", "margin:keep=20+class-balanced:of=entropy"),
        ("class-balanced:of=quota/most=0.2", "class-balanced:of=quota/of=margin/by=class/least=0.0/most=0.2"),
    ],
)
def test_spellings(spec: str, canonical: str) -> None:
    parsed = parse(spec)
    assert spelling(parsed) == canonical
    assert parse(canonical) == parsed


def test_wrong_inner_strategies_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="margn"):
        parse("class-balanced:of=margn")
    with pytest.raises(UsageError, match="unknown parameter 'beta'"):
        parse("class-balanced:of=margin/beta=2")


def test_needs_follow_the_inner_strategy() -> None:
    assert parse("class-balanced:of=loss").needs == ("logits", "truth")
    assert parse("class-balanced:of=random").needs == ("logits",)
    assert parse("class-balanced:of=random").uses == ("labels",)


@pytest.mark.parametrize("spec", ["class-balanced:of=random", "class-balanced:of=loss", "quota:of=random,most=0.2"])
def test_other_inner_strategies_obey_every_law_too(spec: str) -> None:
    check_strategy(spec)
