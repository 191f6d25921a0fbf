"""A chain is its stages one after the other, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from foresift.core.errors import UnknownNameError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Picks, Query
from foresift.selection.chain import Chain
from foresift.strategies import Strategy, parse, spelling
from foresift.testing import make_predictions


@dataclass(frozen=True, kw_only=True)
class Farthest(Strategy):
    """Greedy k-center over the labeled rows, written out; keeps what it saw."""

    name: ClassVar[str] = "farthest"
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "labels")
    prefix: ClassVar[bool] = True
    seen: list[Query]

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        self.seen.append(query)
        points = query.column("embeddings").astype(float)
        centres = [*query.labeled_columns["embeddings"].astype(float)]
        rows: list[int] = []
        while len(rows) < query.budget:
            gaps = (
                np.min([((points - c) ** 2).sum(axis=1) for c in centres], axis=0) if centres else np.ones(len(query))
            )
            gaps[rows] = -1
            rows.append(int(np.argmax(gaps)))
            centres.append(points[rows[-1]])
        return Picks(rows=np.array(rows))


def pool(n: int = 60) -> Predictions:
    return make_predictions(np.random.default_rng(0), n, classes=4)


@pytest.mark.parametrize("keep", [8, 20, 55, 5000])
def test_the_last_stage_picks_among_what_the_first_kept(keep: int) -> None:
    data, labeled = pool(), ["s0003", "s0017", "s0044"]
    last = Farthest(seen=[])
    chained = Chain(stages=(parse("margin"), last), keeps=(str(keep),))
    got = chained.select(data, budget=8, labeled=labeled, labels=[0, 1, 2])
    best = parse("margin").select(data, budget=keep, labeled=labeled).sample_ids
    rows = np.flatnonzero(np.isin(data.sample_ids, [*best, *labeled]))
    alone = Farthest(seen=[]).select(data.take(rows), budget=8, labeled=labeled, labels=[0, 1, 2])
    assert got.sample_ids.tolist() == alone.sample_ids.tolist()
    assert last.seen[0].ids.tolist() == sorted(best.tolist())
    assert last.seen[0].labeled_ids.tolist() == labeled
    assert last.seen[0].labels is not None
    assert list(last.seen[0].columns) == ["embeddings"]


def test_needs_name_and_prefix_follow_from_the_stages() -> None:
    chained = Chain(stages=(parse("margin"), Farthest(seen=[])), keeps=("9",))
    assert (chained.name, chained.needs, chained.prefix) == (
        "margin+farthest",
        ("logits", "embeddings", "labels"),
        True,
    )
    assert not Chain(stages=(parse("margin"), Farthest(seen=[])), keeps=("3x",)).prefix
    assert Chain.needs == ()
    assert replace(chained, keeps=("7",)).needs == chained.needs


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("margin:keep=5000+random", "margin:keep=5000+random"),
        (" MarginConfidence : keep=010x + RandomSampling ", "margin:keep=10x+random"),
        ("random:keep=9+entropy:keep=4+margin", "random:keep=9+entropy:keep=4+margin"),
    ],
)
def test_a_spelling_becomes_canonical_and_stays_so(spec: str, canonical: str) -> None:
    parsed = parse(spec)
    assert spelling(parsed) == canonical
    assert parse(canonical) == parsed


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("margin+random", "margin:keep=N"),
        ("margin:keep=0+random", "number of candidates"),
        ("margin:keep=-4+random", "number of candidates"),
        ("margin:keep=many+random", "number of candidates"),
        ("margin:keep=5+", "a stage is missing"),
        ("+margin", "a stage is missing"),
        ("margin:keep=5,beta=2+random", "unknown parameter 'beta'"),
        ("margin:keep=5+random:keep=3", "keep belongs to a stage before the last"),
    ],
)
def test_a_wrong_spelling_says_what_is_wrong(spec: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(spec)


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(UnknownNameError, match="margn"):
        parse("margn:keep=3+random")


def test_keeping_fewer_than_the_budget_is_refused() -> None:
    with pytest.raises(UsageError, match=r"stage margin of margin:keep=7\+random keeps 7 .* budget of 8; give keep=8"):
        parse("margin:keep=7+random").select(pool(), budget=8)
    with pytest.raises(UsageError, match="budget of 8"):
        parse("margin:keep=7+random").check_budget(8)
    assert len(parse("margin:keep=7+random").select(pool(5), budget=8)) == 5


@dataclass(frozen=True, kw_only=True)
class Drawing(Strategy):
    """Takes the first rows, and keeps the number that it drew."""

    name: ClassVar[str] = "drawing"
    drawn: list[int]

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        self.drawn.append(int(rng.bit_generator.random_raw()))
        return Picks(rows=np.arange(query.budget))


def test_stages_draw_numbers_of_their_own() -> None:
    drawn: list[int] = []
    equal = Chain(stages=(Drawing(drawn=drawn), Drawing(drawn=drawn)), keeps=("9",))
    for seed in (0, 0, 1):
        equal.select(pool(), budget=5, seed=seed)
    assert drawn[:2] == drawn[2:4]
    assert len(set(drawn)) == 4


def test_the_receipt_says_what_each_stage_did() -> None:
    receipt = parse("random:keep=20+entropy:keep=2x+margin").select(pool(), budget=6).receipt
    assert [(stage["stage"], stage["kept"]) for stage in receipt.details["stages"]] == [
        ("random", 20),
        ("entropy", 12),
        ("margin", 6),
    ]
    assert (receipt.solver, receipt.approx) == ("exact+exact+exact", "")
    assert receipt.strategy == "random:keep=20+entropy:keep=2x+margin"
