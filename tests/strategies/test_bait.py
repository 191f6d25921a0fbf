"""BAIT against explicit gradients and explicit inverses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import foresift
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.kernels.greedy import TIE
from foresift.strategies import parse
from foresift.strategies.bait import Bait, merged
from information import fisher_information, logits_and_embeddings

Array = npt.NDArray[np.floating]


def select(logits: Array, h: Array, k: int, labeled: tuple[int, ...] = (), strategy: Bait | None = None) -> Selection:
    made = Predictions.from_arrays(np.arange(len(h)), logits=logits, embeddings=h)
    return (strategy or Bait()).select(made, budget=k, labeled=labeled)


def naive(each: Array, k: int, labeled: tuple[int, ...] = (), oversample: int = 2, ridge: float = 1.0) -> list[int]:
    """Forward and backward with an inverse for every candidate."""
    candidates = [row for row in range(len(each)) if row not in labeled]
    target = each[candidates].mean(axis=0)
    design = ridge * np.eye(each.shape[1]) + each[list(labeled)].sum(axis=0)
    picks: list[int] = []
    for _ in range(min(oversample * k, len(candidates))):
        now = np.trace(np.linalg.inv(design) @ target)
        falls = {
            row: now - np.trace(np.linalg.inv(design + each[row]) @ target) for row in candidates if row not in picks
        }
        best = max(falls.values())
        picks.append(min(row for row, fall in falls.items() if fall >= best - TIE * abs(best)))
        design = design + each[picks[-1]]
    while len(picks) > k:
        traces = {row: np.trace(np.linalg.inv(design - each[row]) @ target) for row in picks}
        worst = min(traces, key=lambda row: traces[row])
        picks.remove(worst)
        design = design - each[worst]
    return picks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labeled", [(), (0, 7, 13)])
@pytest.mark.parametrize(("c", "d"), [(2, 3), (3, 4), (5, 2)])
def test_picks_are_those_of_explicit_inverses(c: int, d: int, labeled: tuple[int, ...], seed: int) -> None:
    logits, h = logits_and_embeddings(20, c, d, seed)
    each = fisher_information(logits, h)
    selection = select(logits, h, 5, labeled)
    assert selection.sample_ids.tolist() == naive(each, 5, labeled)
    chosen = each[[*labeled, *selection.sample_ids.tolist()]].sum(axis=0)
    target = each[[row for row in range(20) if row not in labeled]].mean(axis=0)
    expected = np.trace(np.linalg.inv(np.eye(c * d) + chosen) @ target)
    assert selection.receipt.details["trace"] == pytest.approx(expected, rel=1e-9)
    forward_only = Bait(oversample=1, ridge=0.1)
    assert select(logits, h, 6, labeled, forward_only).sample_ids.tolist() == naive(each, 6, labeled, 1, 0.1)


def test_many_picks_do_not_drift() -> None:
    logits, h = logits_and_embeddings(60, 3, 3)
    assert select(logits, 30 * h, 30).sample_ids.tolist() == naive(fisher_information(logits, 30 * h), 30)


def test_removal_never_ends_worse_than_it_should() -> None:
    logits, h = logits_and_embeddings(30, 3, 3)
    traces = [select(logits, h, k).receipt.details["trace"] for k in (1, 5, 10, 29)]
    assert traces == sorted(traces, reverse=True)


def test_certain_samples_and_zero_embeddings_go_by_id() -> None:
    logits, h = logits_and_embeddings(12, 3, 4)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        assert select(logits, 0 * h, 5).sample_ids.tolist() == list(range(5))
        certain = np.where(logits == logits.max(axis=1, keepdims=True), np.float32(1e4), np.float32(-1e4))
        assert select(certain, h, 5).sample_ids.tolist() == list(range(5))
        assert select(logits[:, :1], h, 5).sample_ids.tolist() == list(range(5))


def test_a_duplicate_of_a_pick_is_worth_less_than_the_pick() -> None:
    logits, h = logits_and_embeddings(10, 3, 4)
    selection = select(np.concatenate([logits, logits]), np.concatenate([h, h]), 4)
    assert len({row % 10 for row in selection.sample_ids.tolist()}) == 4
    assert all(row < 10 for row in selection.sample_ids)


def test_too_wide_is_refused_with_what_to_do() -> None:
    logits, h = logits_and_embeddings(6, 60, 100)
    with pytest.raises(UsageError, match=r"60 \* 100 = 6000 rows, at most 5000.*classes=K.*dims=D"):
        select(logits, h, 2)
    for spec, says in (("bait:classes=9", "all but the 9 most probable of 60"), ("bait:dims=5", "on 5 of 100")):
        strategy = parse(spec)
        assert isinstance(strategy, Bait)
        selection = select(logits, h, 2, strategy=strategy)
        assert says in selection.receipt.approx


def test_too_many_candidates_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foresift.strategies.bait.MAX_FORMS", 100)
    with pytest.raises(UsageError, match="keeps 2 n c\\^2 numbers for n = 20"):
        select(*logits_and_embeddings(20, 3, 2), 2)


def test_as_many_dims_as_the_rank_and_classes_but_one_are_exact() -> None:
    logits, h = logits_and_embeddings(20, 4, 3)
    wide = (h @ np.random.default_rng(0).normal(size=(3, 9))).astype(np.float32)
    expected = select(logits, wide, 5).sample_ids.tolist()
    assert select(logits, wide, 5, strategy=Bait(dims=3)).sample_ids.tolist() == expected
    for classes in (3, 4, 7):
        exact = select(logits, wide, 5, strategy=Bait(classes=classes))
        assert (exact.sample_ids.tolist(), exact.receipt.approx) == (expected, "")


def test_merged_classes_keep_all_probability() -> None:
    probs = np.array([[0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(merged(probs, np.array([0, 3])), [[0.1, 0.4, 0.5]])


@pytest.mark.parametrize("parameters", ["oversample=0", "ridge=0.0", "classes=-1", "dims=-1"])
def test_parameters_are_checked(parameters: str) -> None:
    with pytest.raises(UsageError, match="got"):
        parse(f"bait:{parameters}")


def test_embeddings_too_large_for_the_ridge_are_refused() -> None:
    rng = np.random.default_rng(0)
    X, L = rng.normal(size=(40, 4)) * 1e12, rng.normal(size=(40, 3))
    predictions = foresift.Predictions.from_arrays(np.arange(40), logits=L, embeddings=X)
    with pytest.raises(UsageError, match="divide the embeddings by their standard deviation"):
        foresift.select(predictions, "bait", budget=5, labeled=[0, 1], labels=[0, 1])
