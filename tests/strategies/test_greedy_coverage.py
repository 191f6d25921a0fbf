"""Facility location and MaxHerding against their definitions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.kernels.coverage import SLACK
from foresift.kernels.greedy import TIE
from foresift.selection.base import Strategy
from foresift.strategies import greedy_coverage, parse
from foresift.strategies.facility_location import FacilityLocation
from foresift.strategies.greedy_coverage import GreedyCoverage
from foresift.strategies.max_herding import MaxHerding

Array = npt.NDArray[np.floating]
BOTH = [FacilityLocation(), MaxHerding()]
both = pytest.mark.parametrize("strategy", BOTH, ids=lambda strategy: strategy.name)


def embeddings(n: int, seed: int = 0, d: int = 6) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 2 * rng.normal(size=(5, d))[rng.integers(0, 5, n)]).astype(np.float32)


def predictions(rows: Array) -> Predictions:
    return Predictions.from_arrays(np.arange(len(rows)), embeddings=rows)


def picked(strategy: Strategy, rows: Array, k: int, labeled: tuple[int, ...] = ()) -> list[int]:
    return strategy.select(predictions(rows), budget=k, labeled=labeled).sample_ids.tolist()


def similarity(strategy: Strategy, rows: Array, candidates: list[int]) -> Array:
    """(n, n) by definition, in double precision."""
    x = rows.astype(np.float64)
    if isinstance(strategy, FacilityLocation):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return np.maximum(0, unit @ unit.T)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    among = distances[np.ix_(candidates, candidates)]
    scale = 0.7 * np.median(among[np.triu_indices(len(candidates), k=1)])
    return np.exp(-((distances / scale) ** 2))


def naive(strategy: Strategy, rows: Array, k: int, labeled: tuple[int, ...] = ()) -> list[int]:
    candidates = [row for row in range(len(rows)) if row not in labeled]
    s = similarity(strategy, rows, candidates)[:, candidates]
    covered = s[list(labeled)].max(axis=0, initial=0)
    picks: list[int] = []
    for _ in range(k):
        gains = np.maximum(s - covered - SLACK, 0).sum(axis=1)
        gains[[*picks, *labeled]] = -1
        picks.append(int(np.argmax(gains >= gains.max() * (1 - TIE))))
        covered = np.maximum(covered, s[picks[-1]])
    return picks


@both
@pytest.mark.parametrize("labeled", [(), (0, 17, 80)])
def test_picks_are_those_of_the_double_loop(strategy: Strategy, labeled: tuple[int, ...]) -> None:
    rows = embeddings(120)
    assert picked(strategy, rows, 40, labeled) == naive(strategy, rows, 40, labeled)


@both
def test_greedy_reaches_its_share_of_the_optimum(strategy: Strategy) -> None:
    for seed in range(5):
        rows = embeddings(11, seed)
        s = similarity(strategy, rows, list(range(11)))
        best = max(s[list(subset)].max(axis=0).sum() for subset in combinations(range(11), 3))
        reached = s[picked(strategy, rows, 3)].max(axis=0).sum()
        assert reached >= (1 - 1 / np.e) * best - 11 * SLACK


@both
@pytest.mark.parametrize("scale", [2.0**-60, 3.7, 2.0**40])
def test_scaling_all_embeddings_changes_nothing(strategy: Strategy, scale: float) -> None:
    rows = embeddings(100)
    assert picked(strategy, rows * np.float32(scale), 30) == picked(strategy, rows, 30)


def test_moving_all_embeddings_leaves_max_herding() -> None:
    rows = np.round(embeddings(100) * 64) / 64
    assert picked(MaxHerding(), rows + np.float32(64), 30) == picked(MaxHerding(), rows, 30)


@both
def test_a_duplicate_of_a_pick_or_of_a_labeled_sample_is_picked_last(strategy: Strategy) -> None:
    rows = np.concatenate([embeddings(12), embeddings(12)])
    order = picked(strategy, rows, 24)
    assert sorted(row % 12 for row in order[:12]) == list(range(12))
    assert order[:12] == sorted(set(order[:12]), key=order.index)
    assert all(row < 12 for row in order[:12])
    assert order[12:] == list(range(12, 24))
    assert picked(strategy, rows, 12, tuple(range(12))) == list(range(12, 24))


@both
@pytest.mark.parametrize(
    "rows",
    [np.zeros((9, 3)), np.full((9, 3), 0.1), np.eye(9)[:, :1], np.ones((9, 1)), np.eye(9, 40), np.full((9, 2), 6e4)],
    ids=["zeros", "constant", "one other", "one number", "wide", "large"],
)
def test_degenerate_embeddings_give_every_candidate_once(strategy: Strategy, rows: Array) -> None:
    for dtype in (np.float16, np.float32):
        assert sorted(picked(strategy, rows.astype(dtype), 9)) == list(range(9))


@both
def test_the_receipt_says_how_far_coverage_came(strategy: Strategy) -> None:
    selections = [strategy.select(predictions(embeddings(60)), budget=k, labeled=[3]) for k in (1, 5, 20, 59)]
    coverage = [selection.receipt.details["coverage"] for selection in selections]
    assert coverage == sorted(coverage)
    assert coverage[-1] == pytest.approx(1, abs=1e-4)
    last = selections[-1]
    assert last.scores is not None
    gained = last.scores.sum() + last.receipt.details["coverage_before"]
    assert gained == pytest.approx(coverage[-1], abs=59 * SLACK)
    assert last.receipt.approx == ""


@both
@pytest.mark.parametrize(
    ("parameters", "says"),
    [("references=50", "50 of 200"), ("neighbours=20", "the 20 largest"), ("sample=30", "1 - 1/e - 0.0498")],
)
def test_approximations_are_said_and_come_close(strategy: GreedyCoverage, parameters: str, says: str) -> None:
    rows = embeddings(200)
    approximate = parse(f"{strategy.name}:{parameters}")
    selection = approximate.select(predictions(rows), budget=20)
    assert says in selection.receipt.approx
    s = similarity(strategy, rows, list(range(200)))
    exact = s[picked(strategy, rows, 20)].max(axis=0).sum()
    assert s[selection.sample_ids].max(axis=0).sum() >= 0.85 * exact
    assert picked(approximate, rows, 7) == selection.sample_ids[:7].tolist()


@both
def test_large_pools_are_measured_on_a_sample(strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy_coverage, "EXACT_ROWS", 99)
    monkeypatch.setattr(greedy_coverage, "SAMPLED_ROWS", 30)
    assert "on 30 of 100" in strategy.select(predictions(embeddings(100)), budget=5).receipt.approx
    assert strategy.select(predictions(embeddings(99)), budget=5).receipt.approx == ""


@both
def test_as_many_references_neighbours_or_draws_as_candidates_are_exact(strategy: Strategy) -> None:
    rows = embeddings(50)
    for parameters in ("references=50", "neighbours=50", "sample=50", "references=60,neighbours=60,sample=60"):
        every = parse(f"{strategy.name}:{parameters}")
        assert picked(every, rows, 20) == picked(strategy, rows, 20)
        assert every.select(predictions(rows), budget=20).receipt.approx == ""


@pytest.mark.parametrize(
    "spec", ["max-herding:bandwidth=0", "max-herding:sample=-1", "facility-location:references=-1"]
)
def test_parameters_are_checked(spec: str) -> None:
    with pytest.raises(UsageError, match=r"got (0|-1)"):
        parse(spec)
