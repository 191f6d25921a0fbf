from __future__ import annotations

import numpy as np
import pytest

import foresift
from foresift.app.selecting.arrays import check_budget
from foresift.core.errors import (
    BudgetError,
    DataError,
    MissingColumnError,
    NonFiniteError,
    UnknownNameError,
    UsageError,
)
from foresift.scores import SCORES, Score
from foresift.strategies import parse

IDS = [3, 1, 2]
LOGITS = np.array([[4, 0], [0, 0], [1, 0]], dtype=np.float32)


def predictions() -> foresift.Predictions:
    return foresift.Predictions.from_arrays(IDS, logits=LOGITS)


def test_select_takes_a_spelling_or_a_strategy() -> None:
    for strategy in ("margin", "MarginConfidence", parse("margin")):
        assert foresift.select(predictions(), strategy, budget=2).sample_ids.tolist() == [1, 2]
    assert foresift.select(predictions(), budget=1, labeled=[1]).sample_ids.tolist() == [2]


def test_the_receipt_knows_the_arrays() -> None:
    first, again = (foresift.select(predictions(), budget=2).receipt for _ in range(2))
    assert first.id == again.id
    other = foresift.Predictions.from_arrays(IDS, logits=LOGITS + np.float32([[0, 1]]))
    assert foresift.select(other, budget=2).receipt.pool != first.pool
    shuffled = predictions().take(np.array([2, 0, 1]))
    assert foresift.select(shuffled, budget=2).receipt == first


def test_guards_groups_and_a_control_arm() -> None:
    groups = ["site a", "site b", "site b"]
    one_each = foresift.select(predictions(), budget=2, guards=foresift.Guards(max_per_group=1), groups=groups)
    assert one_each.sample_ids.tolist() == [1, 3]
    same = foresift.select(predictions(), budget=2, guards={"max_per_group": 1}, groups=groups, control=0.0)
    assert same.receipt == one_each.receipt
    assert same.receipt.producers["groups"].model == "pool"
    assert one_each.receipt.pool != foresift.select(predictions(), budget=2, groups=groups).receipt.pool
    both = foresift.select(predictions(), budget=2, control=0.5)
    assert both.arms == ["control", "strategy"]
    with pytest.raises(DataError, match="3 ids but 2 rows of groups"):
        foresift.select(predictions(), budget=1, groups=groups[1:])


def test_a_missing_column_is_named() -> None:
    nothing = foresift.Predictions.from_arrays(IDS)
    with pytest.raises(MissingColumnError, match="the column logits"):
        foresift.select(nothing, budget=1)
    assert len(foresift.select(nothing, "random", budget=2)) == 2


def test_score_keeps_the_order_of_the_predictions() -> None:
    scores = foresift.score(predictions(), "EntropySampling")
    assert scores.name == "entropy"
    assert scores.sample_ids.tolist() == IDS
    assert np.argsort(-scores.values).tolist() == [1, 2, 0]


def test_score_takes_labels_for_the_loss() -> None:
    losses = foresift.score(predictions(), "loss", labels=[1, 0, 0]).values
    np.testing.assert_allclose(losses, np.log1p(np.exp([4, 0, -1])), rtol=1e-6)
    with pytest.raises(UsageError, match="needs labels"):
        foresift.score(predictions(), "loss")
    with pytest.raises(UsageError, match="each of the 3 rows"):
        foresift.score(predictions(), "loss", labels=[0])
    with pytest.raises(UnknownNameError, match="did you mean 'entropy'"):
        foresift.score(predictions(), "entrophy")


def test_a_score_that_is_not_finite_names_the_sample() -> None:
    SCORES.add("broken", Score(name="broken", needs=("logits",), formula=lambda z: np.where(z[:, 0] == 1, np.nan, 0)))
    try:
        with pytest.raises(NonFiniteError, match="sample '2'"):
            foresift.score(predictions(), "broken")
    finally:
        SCORES._entries.pop("broken")


@pytest.mark.parametrize(
    ("budget", "unlabeled", "allow_short"), [(1, 1, False), (7, 9, False), (0, 5, True), (9, 5, True)]
)
def test_budgets_that_can_be_spent(budget: int, unlabeled: int, allow_short: bool) -> None:
    check_budget(budget, unlabeled, allow_short=allow_short)


@pytest.mark.parametrize(("budget", "allow_short"), [(0, False), (6, False), (-1, False), (-1, True)])
def test_budgets_that_cannot_be_spent_name_both_numbers(budget: int, allow_short: bool) -> None:
    with pytest.raises(BudgetError, match=rf"budget {budget} must be within 1 \.\. 5"):
        check_budget(budget, 5, allow_short=allow_short)
