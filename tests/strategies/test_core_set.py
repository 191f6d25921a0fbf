"""Core-set reaches the smallest radius on small pools, and passes over outliers on large ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.kernels import cover
from foresift.strategies import parse
from foresift.strategies.core_set import CoreSet
from foresift.testing import check_strategy


def pool(n: int, d: int = 2, *, seed: int = 0) -> tuple[np.ndarray, Predictions]:
    embeddings = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return embeddings, Predictions.from_arrays(range(n), embeddings=embeddings)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None].astype(np.float64) - centres[None].astype(np.float64), axis=2).min(axis=1)


@pytest.mark.parametrize("labeled", [[], [2, 7]])
@pytest.mark.parametrize("seed", range(4))
def test_no_three_samples_cover_at_a_smaller_radius(labeled: list[int], seed: int) -> None:
    embeddings, predictions = pool(12, seed=seed)
    rest = [row for row in range(12) if row not in labeled]
    best = min(nearest(embeddings, embeddings[[*labeled, *rows]]).max() for rows in combinations(rest, 3))
    selection = parse("core-set").select(predictions, budget=3, labeled=labeled)
    picked = selection.sample_ids.tolist()
    assert nearest(embeddings, embeddings[[*labeled, *picked]]).max() == pytest.approx(best)
    details, greedy = selection.receipt.details, parse("k-center").select(predictions, budget=3, labeled=labeled)
    assert details["radius"] == pytest.approx(best)
    assert details["radius_before"] == pytest.approx(greedy.receipt.details["radius"])
    assert (selection.receipt.solver, selection.receipt.approx) == ("milp", "")


def test_refinement_helps_where_greedy_does_not_suffice() -> None:
    _, predictions = pool(60)
    details = parse("core-set").select(predictions, budget=6).receipt.details
    assert details["radius_at_least"] == details["radius"] < details["radius_before"]


def test_above_the_limit_it_is_greedy_and_says_so() -> None:
    _, predictions = pool(60)
    selection = parse("core-set:max_exact=61").select(predictions, budget=6, labeled=[1, 2])
    assert selection.receipt.solver == "milp"
    selection = parse("core-set:max_exact=59").select(predictions, budget=6, labeled=[1, 2])
    greedy = parse("k-center").select(predictions, budget=6, labeled=[1, 2])
    assert selection.sample_ids.tolist() == greedy.sample_ids.tolist()
    assert selection.receipt.solver == "greedy"
    assert "twice" in selection.receipt.approx


def test_outliers_are_passed_over() -> None:
    embeddings, _ = pool(100)
    embeddings[[10, 20]] = [[50, 50], [-60, 10]]
    predictions = Predictions.from_arrays(range(100), embeddings=embeddings)
    radii = []
    for max_exact in (0, 100):
        selection = parse(f"core-set:outliers=0.021,max_exact={max_exact}").select(predictions, budget=8, labeled=[0])
        distances = np.sort(nearest(embeddings, embeddings[[0, *selection.sample_ids.tolist()]]))
        radii.append(selection.receipt.details["radius"])
        assert radii[-1] == pytest.approx(distances[-3])
        assert selection.receipt.details["outliers"] == 2
    greedy, refined = radii
    assert refined <= greedy < 3


def test_greedy_never_picks_an_outlier_that_is_alone() -> None:
    embeddings, _ = pool(100)
    embeddings[[10, 20]] = [[50, 50], [-60, 10]]
    predictions = Predictions.from_arrays(range(100), embeddings=embeddings)
    selection = parse("core-set:outliers=0.021,max_exact=0").select(predictions, budget=8, labeled=[0])
    assert not {10, 20} & set(selection.sample_ids.tolist())
    assert "no bound" in selection.receipt.approx


def test_a_limit_is_in_the_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cover, "_solve", lambda *_: (None, False))
    monkeypatch.setattr(cover, "greedy_cover", lambda *_, **__: None)
    _, predictions = pool(40)
    selection = parse("core-set").select(predictions, budget=5, labeled=[3])
    greedy = parse("k-center").select(predictions, budget=5, labeled=[3])
    assert selection.sample_ids.tolist() == greedy.sample_ids.tolist()
    assert "limits ended" in selection.receipt.approx


@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("max_exact", [0, 300])
def test_equal_embeddings_come_in_order_of_id(value: float, max_exact: int) -> None:
    predictions = Predictions.from_arrays(range(9), embeddings=np.full((9, 30), value, dtype=np.float32))
    selection = parse(f"core-set:max_exact={max_exact}").select(predictions, budget=5, labeled=[4])
    assert selection.sample_ids.tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("spec", ["core-set:max_exact=0", "core-set:outliers=0.2", "core-set:metric=cosine"])
def test_its_variants_obey_the_laws(spec: str) -> None:
    check_strategy(spec)


@pytest.mark.parametrize(
    "parameters",
    [
        {"metric": "l1"},
        {"outliers": 1.0},
        {"outliers": float("nan")},
        {"max_exact": -1},
        {"nodes": 0},
        {"time_limit_s": 0.0},
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must be"):
        CoreSet(**parameters)  # type: ignore[arg-type]
