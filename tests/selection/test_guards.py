"""Guards: for a ranking the greedy walk down it, for every strategy limits that hold and a budget that is met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.core.queries import Picks, Query
from foresift.selection.guards import Guards
from foresift.strategies import STRATEGIES, Strategy, parse
from foresift.testing import make_predictions
from foresift.testing.examples import class_codes_of

NAMES = [*STRATEGIES.names(), "margin:keep=5000+random"]


@dataclass(frozen=True, kw_only=True)
class Spread(Strategy):
    """Greedy k-center over labeled rows, written out: no ranking, and labeled rows matter."""

    name: ClassVar[str] = "spread"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    asked: list[Query]

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        self.asked.append(query)
        points = query.column("embeddings").astype(float)
        centres = [*query.labeled_columns["embeddings"].astype(float)]
        rows: list[int] = []
        scores: list[float] = []
        while len(rows) < query.budget:
            gaps = (
                np.min([((points - c) ** 2).sum(axis=1) for c in centres], axis=0) if centres else np.ones(len(query))
            )
            gaps[rows] = -1
            rows.append(int(np.argmax(gaps)))
            scores.append(gaps[rows[-1]])
            centres.append(points[rows[-1]])
        return Picks(rows=np.array(rows), scores=np.array(scores))


def pool(n: int, *, groups: int = 7, seed: int = 0) -> Predictions:
    """Rows with near-copies, groups (some empty) and few classes."""
    rng = np.random.default_rng(seed)
    made = make_predictions(rng, n, classes=4)
    embeddings, logits = made.column("embeddings").copy(), made.column("logits").copy()
    sources = np.arange(n)[::3] // 2
    embeddings[::3] = embeddings[sources] + rng.normal(scale=1e-3, size=(len(sources), embeddings.shape[1]))
    logits[::3] = logits[sources]
    kinds = rng.integers(0, groups, n)
    names = np.array([f"video {kind}" if kind else "" for kind in kinds.tolist()], dtype=np.str_)
    columns = {"embeddings": Column(values=embeddings), "logits": Column(values=logits), "groups": Column(values=names)}
    return replace(made, columns={**made.columns, **columns})


def cosine(a: Any, b: Any) -> float:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(1 - x @ y / np.sqrt((x @ x) * (y @ y)))


def row_of(data: Predictions) -> dict[str, int]:
    return {sample: row for row, sample in enumerate(data.sample_ids.tolist())}


def walked(data: Predictions, order: list[str], budget: int, guards: Guards, labeled: list[str]) -> list[str]:
    """The definition: down the order, one at a time, everything recomputed."""
    at, vectors, logits = row_of(data), data.column("embeddings"), data.column("logits")
    groups = data.column("groups")
    taken: list[str] = []

    def objection(sample: str) -> bool:
        row = at[sample]
        if guards.min_distance is not None:
            near = [cosine(vectors[row], vectors[at[other]]) < guards.min_distance for other in [*labeled, *taken]]
            if any(near):
                return True
        mates = [other for other in taken if groups[at[other]] == groups[row] != ""]
        if guards.max_per_group is not None and len(mates) >= guards.max_per_group:
            return True
        alike = [other for other in taken if logits[at[other]].argmax() == logits[row].argmax()]
        return guards.max_per_class is not None and len(alike) >= guards.max_per_class

    for sample in order:
        if len(taken) < budget and not objection(sample):
            taken.append(sample)
    return taken


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    budget=st.integers(1, 45),
    distance=st.none() | st.floats(1e-4, 1.5),
    per_group=st.none() | st.integers(1, 4),
    per_class=st.none() | st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_a_guarded_ranking_is_the_greedy_walk_down_it(
    n: int, budget: int, distance: float | None, per_group: int | None, per_class: int | None, seed: int
) -> None:
    data = pool(n, seed=seed)
    guards = Guards(min_distance=distance, max_per_group=per_group, max_per_class=per_class)
    labeled = sorted(data.sample_ids.tolist())[::5]
    order = parse("margin").select(data, budget=n, labeled=labeled).sample_ids.tolist()
    got = parse("margin").select(data, budget=budget, labeled=labeled, guards=guards)
    expected = walked(data, order, min(budget, len(order)), guards, labeled)
    assert got.sample_ids.tolist() == expected
    assert got.receipt.short == (len(expected) < budget)
    barred = [sample for ids in got.barred.values() for sample in ids.tolist()]
    assert len(set(barred)) == len(barred)
    assert not set(barred) & set(expected)
    if expected and guards:
        deepest = order.index(expected[-1])
        assert got.receipt.guards["rank_reached"] == deepest + 1
        near_labeled = set(got.barred.get("near-labeled", np.empty(0)).tolist())
        assert set(order[:deepest]) - set(expected) <= set(barred)
        assert set(barred) - near_labeled <= set(order[:deepest]) | (set(order) if got.receipt.short else set())


def arguments(strategy: Strategy, data: Predictions, labeled: list[str]) -> dict[str, Any]:
    wanted = (*strategy.needs, *strategy.uses)
    return {
        "labeled": labeled,
        "labels": class_codes_of(np.array(labeled), classes=4) if "labels" in wanted else None,
        "truth": class_codes_of(data.sample_ids, classes=4) if "truth" in wanted else None,
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_keeps_every_limit(name: str) -> None:
    data, strategy = pool(90), parse(name)
    labeled = sorted(data.sample_ids.tolist())[::9]
    guards = Guards(min_distance=0.02, max_per_group=3, max_per_class=6)
    more = arguments(strategy, data, labeled)
    got = strategy.select(data, budget=15, guards=guards, **more)
    at, vectors = row_of(data), data.column("embeddings")
    rows = [at[sample] for sample in got.sample_ids.tolist()]
    assert len(set(rows)) == 15
    assert not set(got.sample_ids.tolist()) & set(labeled)
    pairs = [(a, b) for i, a in enumerate(rows) for b in [*rows[:i], *(at[sample] for sample in labeled)]]
    assert min(cosine(vectors[a], vectors[b]) for a, b in pairs) >= 0.02
    groups, classes = data.column("groups")[rows], data.column("logits")[rows].argmax(axis=1)
    assert max(np.unique(groups[groups != ""], return_counts=True)[1]) <= 3
    assert max(np.unique(classes, return_counts=True)[1]) <= 6
    order = np.random.default_rng(5).permutation(90)
    shuffled = data.take(order)
    again = strategy.select(shuffled, budget=15, guards=guards, **arguments(strategy, shuffled, labeled))
    assert again.sample_ids.tolist() == got.sample_ids.tolist()
    assert again.receipt == got.receipt


@pytest.mark.parametrize("name", NAMES)
def test_guards_that_bind_nothing_change_nothing(name: str) -> None:
    data, strategy = pool(40), parse(name)
    labeled = sorted(data.sample_ids.tolist())[::9]
    more = arguments(strategy, data, labeled)
    plain = strategy.select(data, budget=12, **more)
    guarded = strategy.select(data, budget=12, guards=Guards(max_per_group=12, max_per_class=12), **more)
    assert guarded.sample_ids.tolist() == plain.sample_ids.tolist()
    assert guarded.receipt.guards["removed"] == {}


def test_a_strategy_is_asked_again_beside_what_it_picked() -> None:
    data = pool(60)
    strategy = Spread(asked=[])
    labeled = ["s0001", "s0040"]
    got = strategy.select(data, budget=10, labeled=labeled, guards=Guards(max_per_class=3))
    assert len(got) == 10
    first, second, *_ = strategy.asked
    assert second.labeled_ids.tolist() == sorted([*labeled, *got.sample_ids[: 10 - second.budget].tolist()])
    assert len(second.labeled_columns["embeddings"]) == len(second.labeled_ids)
    assert second.budget < first.budget == 10
    assert got.receipt.guards["asked"] == len(strategy.asked)
    assert got.scores is not None
    assert np.isfinite(got.scores).all()


@pytest.mark.parametrize("strategy", ["margin", "random"])
def test_copies_of_one_image_give_one_pick_and_say_why_there_are_no_more(strategy: str) -> None:
    same = Predictions.from_arrays(range(30), logits=np.zeros((30, 3)), embeddings=np.ones((30, 4), dtype=np.float32))
    got = parse(strategy).select(same, budget=5, guards=Guards(min_distance=1e-9))
    assert len(got) == 1
    assert got.receipt.short
    assert got.receipt.guards["removed"] == {"near-pick": 29}
    none = parse(strategy).select(same, budget=5, labeled=[7], guards=Guards(min_distance=1e-9))
    assert (len(none), none.receipt.guards["removed"]) == (0, {"near-labeled": 29})


def test_nothing_of_a_validation_set_is_picked() -> None:
    data = pool(50)
    at, vectors = row_of(data), data.column("embeddings")
    held_out = Predictions.from_arrays(["s0003", "elsewhere"], embeddings=vectors[[at["s0003"], at["s0020"]]])
    by_id = parse("margin").select(data, budget=50, guards=Guards(validation=held_out))
    assert set(data.sample_ids.tolist()) - set(by_id.sample_ids.tolist()) == {"s0003"}
    near = parse("margin").select(data, budget=50, guards=Guards(validation=held_out, min_distance=0.001))
    expected = {s for s in at for v in held_out.column("embeddings") if cosine(vectors[at[s]], v) < 0.001}
    assert set(near.barred["validation"].tolist()) == expected >= {"s0003", "s0020"}
    refused = parse("margin").select(data, budget=50, guards=Guards(refused=np.array(["s0009", "other"])))
    assert refused.barred["validation"].tolist() == ["s0009"]
    other = Predictions.from_arrays([1], embeddings=np.zeros((1, 3)))
    with pytest.raises(UsageError, match=r"3 wide.*same model"):
        parse("margin").select(data, budget=1, guards=Guards(validation=other, min_distance=0.1))


def test_a_candidate_is_barred_for_one_reason() -> None:
    data = Predictions.from_arrays(list("abc"), logits=np.eye(3), embeddings=np.array([[1, 0], [1, 0], [0, 1]]))
    guards = Guards(validation=data.take(np.array([0])), min_distance=0.1)
    got = parse("margin").select(data, budget=3, labeled=["a"], guards=guards)
    assert got.receipt.guards["removed"] == {"validation": 1}
    assert {reason: ids.tolist() for reason, ids in got.barred.items()} == {"validation": ["b"]}


def test_what_a_guard_costs_is_in_the_receipt() -> None:
    ids = list("abcdef")
    logits = np.array([[0, 0], [0, 0.1], [0, 0.2], [0.3, 0], [0.4, 0], [0.5, 0]])
    data = Predictions.from_arrays(ids, logits=logits)
    got = parse("margin").select(data, budget=3, guards=Guards(max_per_class=2))
    assert got.sample_ids.tolist() == ["a", "b", "c"]  # a ties: class 0
    one = parse("margin").select(data, budget=2, guards=Guards(max_per_class=1))
    assert one.sample_ids.tolist() == ["a", "b"]
    last = parse("margin").select(data, budget=3, labeled=["a"], guards=Guards(max_per_class=2))
    assert last.sample_ids.tolist() == ["b", "c", "d"]
    tight = parse("margin").select(data, budget=2, labeled=["a"], guards=Guards(max_per_class=1))
    assert tight.sample_ids.tolist() == ["b", "d"]
    receipt = tight.receipt.guards
    assert receipt["removed"] == {"class-full": 1}
    assert receipt["rank_reached"] == 3
    scores = parse("margin").values(parse("margin").query(data, budget=2, labeled=["a"]))
    assert scores is not None
    assert receipt["mean_score_given_up"] == pytest.approx((scores[1] - scores[2]) / 2)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"min_distance": 0}, "within"),
        ({"min_distance": 2.5}, "within"),
        ({"max_per_group": 0}, "1 or more"),
        ({"max_per_class": 1.5}, "1 or more"),
        ({"min_distanse": 0.1}, "unknown guard 'min_distanse'"),
    ],
)
def test_a_wrong_limit_says_what_is_wrong(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Guards.of(wrong)


def test_missing_columns_are_named() -> None:
    data = Predictions.from_arrays([1, 2], logits=np.zeros((2, 2)))
    with pytest.raises(MissingColumnError, match="embeddings"):
        parse("margin").select(data, budget=1, guards=Guards(min_distance=0.1))
    with pytest.raises(MissingColumnError, match="groups"):
        parse("margin").select(data, budget=1, guards=Guards(max_per_group=1))
