"""k-DPPs as strategies: every pool gives k distinct rows or a clear error; what ran is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.strategies import dpp_similarity, parse
from foresift.testing import check_strategy

Array = npt.NDArray[np.floating[Any]]


def embeddings(n: int = 60, d: int = 8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def select(spec: str, rows: Array, budget: int, **given: Any) -> Selection:
    predictions = Predictions.from_arrays(ids=np.arange(len(rows)), embeddings=rows)
    return parse(spec).select(predictions, budget=budget, **given)


@pytest.fixture
def large_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools above 10 rows count as large."""
    monkeypatch.setattr(dpp_similarity, "EXACT_ROWS", 10)
    monkeypatch.setattr(dpp_similarity, "FEWEST_FEATURES", 16)


SPECS = ["k-dpp", "k-dpp:method=map", "k-dpp:kernel=nystrom", "k-dpp:metric=euclidean,condition=none"]


@pytest.mark.parametrize("spec", SPECS[1:])
def test_every_form_obeys_the_laws(spec: str) -> None:
    check_strategy(spec)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "rows",
    [
        np.ones((40, 4), dtype=np.float32),
        np.zeros((40, 4), dtype=np.float32),
        np.repeat(embeddings(8), 5, axis=0),
        embeddings(40, 1),
        embeddings(40, 100),
        embeddings(40) * np.float32(1e30),
        embeddings(40) * np.float32(1e-30),
    ],
    ids=["constant", "zeros", "copies", "one-dimension", "wide", "huge", "tiny"],
)
@pytest.mark.parametrize("large", [False, True])
def test_any_embeddings_give_k_distinct_rows(
    spec: str, rows: Array, large: bool, request: pytest.FixtureRequest
) -> None:
    if large:
        request.getfixturevalue("large_pools")
    for labeled in ([], [0, 5, 39]):
        got = select(spec, rows, 15, labeled=labeled)
        assert len(set(got.sample_ids.tolist())) == 15
        rank = got.receipt.details["rank"]
        assert ("exhausted" in got.receipt.approx) == (rank < 15)


def test_a_small_pool_is_exact_and_a_large_one_says_what_stands_for_the_kernel(large_pools: None) -> None:
    small, large = select("k-dpp", embeddings(10), 4), select("k-dpp", embeddings(60), 4)
    assert (small.receipt.approx, small.receipt.solver) == ("", "exact k-DPP sample by rejection")
    assert "16 random Fourier features" in large.receipt.approx
    assert large.receipt.details["features"] == 16
    assert "Nystrom" in select("k-dpp:kernel=nystrom", embeddings(60), 4).receipt.approx
    assert "1 / k!" in select("k-dpp:method=map", embeddings(10), 4).receipt.approx


def test_copies_come_once_each_before_any_comes_twice() -> None:
    rows = np.repeat(embeddings(8), 5, axis=0)
    for method in ("sample", "map"):
        for seed in range(10):
            ids = select(f"k-dpp:method={method}", rows, 8, seed=seed).sample_ids
            assert sorted(ids // 5) == list(range(8))


def test_labeled_samples_repel_and_condition_none_ignores_them() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(4, 8, dtype=np.float32)
    rows = (np.repeat(centres, 25, axis=0) + 0.02 * rng.normal(size=(100, 8))).astype(np.float32)
    labeled = list(range(20))  # all of the first cluster

    def share(condition: str) -> float:
        picks = [select(f"k-dpp:condition={condition}", rows, 3, labeled=labeled, seed=s).sample_ids for s in range(40)]
        return float((np.concatenate(picks) < 25).mean())

    assert share("labeled") < 0.02 < share("none")


def test_small_clusters_come_as_often_as_large_ones() -> None:
    rng = np.random.default_rng(1)
    of_row = np.repeat([0, 1, 2], [50, 40, 10])
    rows = (np.eye(3, 8)[of_row] + 0.01 * rng.normal(size=(100, 8))).astype(np.float32)
    drawn = [select("k-dpp", rows, 3, seed=seed).sample_ids for seed in range(40)]
    assert np.mean([len(set(of_row[ids].tolist())) == 3 for ids in drawn]) > 0.9


def test_rotated_embeddings_give_the_same_picks_of_the_exact_kernel() -> None:
    rows = embeddings(50, 6)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0].astype(np.float32)
    one, two = (select("k-dpp:method=map", x, 10).sample_ids for x in (rows, rows @ turn))
    np.testing.assert_array_equal(one, two)


def test_the_linear_kernel_holds_at_most_d_picks() -> None:
    assert len(select("k-dpp:kernel=linear", embeddings(40, 5), 5)) == 5
    with pytest.raises(UsageError, match="rank 5 holds no set of 6"):
        select("k-dpp:kernel=linear", embeddings(40, 5), 6)


def test_budgets_beyond_any_feasible_features_are_refused(large_pools: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpp_similarity, "MOST_FEATURES", 20)
    assert len(select("k-dpp", embeddings(60), 15)) == 15
    with pytest.raises(UsageError, match="at least 25 features, got 20"):
        select("k-dpp", embeddings(60), 25)
    with pytest.raises(UsageError, match="at least 15 features, got 12"):
        select("k-dpp:features=12", embeddings(60), 15)


def test_all_candidates_need_no_kernel() -> None:
    got = select("k-dpp", embeddings(9), 20)
    assert got.sample_ids.tolist() == list(range(9))
    assert got.receipt.solver == "every candidate"


def test_an_embedding_that_is_no_number_is_an_error_that_names_the_sample() -> None:
    rows = embeddings()
    rows[17, 3] = np.nan
    with pytest.raises(NonFiniteError, match="'17'"):
        select("k-dpp", rows, 5)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("k-dpp:method=best", "method must be sample or map, got 'best'"),
        ("k-dpp:kernel=cubic", "kernel must be rbf or nystrom or linear"),
        ("k-dpp:metric=l1", "metric must be cosine or euclidean"),
        ("k-dpp:condition=all", "condition must be labeled or none"),
        ("k-dpp:scale=0", "scale must be above 0"),
        ("k-dpp:scale=nan", "scale must be above 0"),
        ("k-dpp:noise=-1", "noise must be above 0"),
        ("k-dpp:features=-1", "features must be 0 or more"),
    ],
)
def test_wrong_parameters_are_refused(spec: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse(spec)


def test_maximum_scores_are_residuals_that_never_rise() -> None:
    scores = select("k-dpp:method=map", embeddings(), 20).scores
    assert scores is not None
    assert (np.diff(scores) <= 1e-9).all()
    assert scores[0] == pytest.approx(1)
