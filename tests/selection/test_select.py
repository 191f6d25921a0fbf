"""What ``Strategy.select`` validates, orders and records, once for all strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from foresift.core.errors import (
    BudgetError,
    ContractError,
    DataError,
    MissingColumnError,
    NonFiniteError,
    UsageError,
)
from foresift.core.predictions import Predictions, Producer
from foresift.core.queries import Picks, Query, Receipt
from foresift.strategies import Strategy, parse

IDS = ["d", "b", "a", "c"]
LOGITS = np.array([[3, 0], [0, 0], [1, 0], [2, 0]], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Given(Strategy):
    """Returns what the test wants, and keeps the query that it saw."""

    name: ClassVar[str] = "given"
    needs: ClassVar[tuple[str, ...]] = ("logits", "labels")
    picks: Any
    seen: list[Query]

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        self.seen.append(query)
        return self.picks


def predictions(**more: Any) -> Predictions:
    return Predictions.from_arrays(IDS, logits=LOGITS, **more)


def given(rows: Any, scores: Any = None) -> Given:
    return Given(picks=Picks(rows=rows, scores=scores), seen=[])


def seen(data: Predictions, **arguments: Any) -> Query:
    strategy = given(np.array([0]))
    strategy.select(data, budget=1, **{"labels": [], **arguments})
    return strategy.seen[0]


def test_the_query_holds_candidates_in_order_of_id() -> None:
    query = seen(predictions(), labeled=["c", "zzz", "a"], labels=[2, 1, 0])
    assert query.ids.tolist() == ["b", "d"]
    assert query.column("logits").tolist() == [[0, 0], [3, 0]]
    assert query.block("logits", 1, 2).tolist() == [[3, 0]]
    assert query.labeled_ids.tolist() == ["a", "c", "zzz"]
    assert query.labels is not None
    assert query.labels.tolist() == [0, 2, 1]
    assert query.labeled_rows.tolist() == [0, 1]
    assert query.labeled_columns["logits"].tolist() == [[1, 0], [2, 0]]


def test_nothing_is_copied_when_rows_are_in_order_and_nothing_is_labeled() -> None:
    data = Predictions.from_arrays(sorted(IDS), logits=LOGITS)
    query = seen(data)
    assert np.shares_memory(query.column("logits"), LOGITS)
    assert np.shares_memory(query.ids, data.sample_ids)
    assert list(query.labeled_columns["logits"]) == []


def test_a_strategy_sees_only_the_columns_that_it_needs() -> None:
    query = seen(predictions(embeddings=np.zeros((4, 2))), truth=[0, 1, 0, 1])
    assert list(query.columns) == ["logits"]
    assert query.truth is None
    with pytest.raises(MissingColumnError, match="needs the column embeddings"):
        query.column("embeddings")


def test_labeled_ids_from_text_find_integer_ids() -> None:
    data = Predictions.from_arrays([10, 9, 8], logits=LOGITS[:3])
    assert parse("margin").select(data, budget=9, labeled=["9", "77"]).sample_ids.tolist() == [8, 10]
    with pytest.raises(DataError, match="integers"):
        parse("margin").select(data, budget=1, labeled=["nine"])


def test_labeled_ids_may_repeat_and_come_as_any_iterable() -> None:
    for labeled in (["a", "a"], {"a"}, (x for x in "a"), np.array(["a"])):
        assert parse("margin").select(predictions(), budget=9, labeled=labeled).receipt.n_labeled == 1


@pytest.mark.parametrize("budget", [-1, np.int64(-7)])
def test_a_negative_budget_is_refused(budget: int) -> None:
    with pytest.raises(BudgetError, match="0 or more"):
        parse("margin").select(predictions(), budget=budget)


def test_a_budget_is_a_whole_number() -> None:
    with pytest.raises(BudgetError, match=r"whole number of labels, got 2\.5"):
        parse("margin").select(predictions(), budget=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 0.5, "x"])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(UsageError, match="seed must be a whole number"):
        parse("random").select(predictions(), budget=0, seed=seed)


def test_an_empty_pool_gives_an_empty_selection() -> None:
    nothing = Predictions.from_arrays([], logits=np.empty((0, 2)))
    selection = parse("margin").select(nothing, budget=3)
    assert len(selection) == 0
    assert selection.receipt.short


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([0, 1], "row indices"),
        (np.array([0.0, 1.0]), "row indices"),
        (np.array([0]), "must pick 2"),
        (np.array([[0, 1]]), "must pick 2"),
        (np.array([0, 4]), "outside 0 .. 3"),
        (np.array([-1, 0]), "outside 0 .. 3"),
        (np.array([1, 1]), "twice"),
    ],
)
def test_a_strategy_that_breaks_its_contract_is_named(rows: Any, why: str) -> None:
    with pytest.raises(ContractError, match=f"strategy 'given'.*{why}"):
        given(rows).select(predictions(), budget=2, labels=[])


def test_scores_are_one_finite_number_a_pick() -> None:
    with pytest.raises(ContractError, match="scores of shape"):
        given(np.array([0, 1]), np.zeros(3)).select(predictions(), budget=2, labels=[])
    with pytest.raises(NonFiniteError, match="sample 'b'"):
        given(np.array([0, 1]), np.array([0, np.nan])).select(predictions(), budget=2, labels=[])


def test_needs_are_asked_for() -> None:
    only_embeddings = Predictions.from_arrays(IDS, embeddings=np.zeros((4, 2)))
    with pytest.raises(MissingColumnError, match="the column logits"):
        parse("margin").select(only_embeddings, budget=0)
    with pytest.raises(UsageError, match="needs labels"):
        given(np.array([0])).select(predictions(), budget=1)
    with pytest.raises(UsageError, match="studies and fully labeled pools only"):
        parse("loss").select(predictions(), budget=1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"labeled": ["a"], "labels": []}, "one class code for each of the 1 labeled ids"),
        ({"labeled": ["a", "a"], "labels": [0, 0]}, "occurs twice"),
        ({"labeled": ["a"], "labels": ["cat"]}, "class codes"),
    ],
)
def test_labels_are_one_code_for_each_labeled_id(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        given(np.array([0])).select(predictions(), budget=1, **arguments)


def test_truth_is_one_known_code_for_each_row() -> None:
    assert parse("loss").select(predictions(), budget=4, truth=[1, 0, 0, 0]).sample_ids.tolist() == list("dbac")
    with pytest.raises(UsageError, match="sample 'b' has none"):
        parse("loss").select(predictions(), budget=1, truth=[0, -1, 0, 0])
    with pytest.raises(UsageError, match="each of the 4 rows"):
        parse("loss").select(predictions(), budget=1, truth=[0])


def test_the_receipt_says_what_was_done() -> None:
    maker = Producer(model="m1")
    selection = parse("margin").select(
        predictions(producer=maker), budget=9, seed=4, labeled=["c"], pool={"name": "p"}, model={"id": "g"}
    )
    receipt = selection.receipt
    assert selection.sample_ids.tolist() == ["b", "a", "d"]
    assert (receipt.strategy, receipt.budget, receipt.seed, receipt.short) == ("margin", 9, 4, True)
    assert (receipt.n_candidates, receipt.n_labeled, receipt.solver) == (3, 1, "exact")
    assert receipt.producers == {"logits": maker}
    assert (receipt.pool, receipt.model) == ({"name": "p"}, {"id": "g"})
    assert receipt.foresift
    assert Receipt.from_dict(receipt.to_dict()) == receipt


def test_digests_do_not_depend_on_how_wide_the_id_array_is() -> None:
    wide = Predictions.from_arrays([*IDS, "a much longer id"], logits=np.zeros((5, 2), dtype=np.float32))
    a = parse("margin").select(wide, budget=0, labeled=["a much longer id"]).receipt
    b = parse("margin").select(predictions(), budget=0, labeled=["a much longer id"]).receipt
    assert a.candidates == b.candidates
    assert a.labeled == b.labeled


def test_addresses_follow_the_picks() -> None:
    data = predictions(uris=[f"{name}.png" for name in IDS])
    selection = parse("margin").select(data, budget=3, labeled=["d"])
    assert [row["uri"] for row in selection.rows()] == ["b.png", "a.png", "c.png"]
    assert [row["rank"] for row in selection.rows()] == [1, 2, 3]


def test_select_is_written_once() -> None:
    with pytest.raises(TypeError, match="must not override select"):
        type("Own", (Strategy,), {"select": lambda self: None})


def test_select_leaves_no_trace_in_global_randomness() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    parse("random").select(predictions(), budget=2)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
