"""Uncertainty-aware DPPs as strategies: three forms, their limits, and what the receipt says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.strategies import dpp_equation, dpp_similarity, parse, ua_dpp
from foresift.testing import check_strategy

Array = npt.NDArray[np.floating[Any]]


def pool(n: int = 60, d: int = 8, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return 3 * rng.normal(size=(n, classes)).astype(np.float32), rng.normal(size=(n, d)).astype(np.float32)


def select(spec: str, arrays: tuple[Array, Array], budget: int, **given: Any) -> Selection:
    logits, embeddings = arrays
    predictions = Predictions.from_arrays(np.arange(len(logits)), logits=logits, embeddings=embeddings)
    return parse(spec).select(predictions, budget=budget, **given)


@pytest.fixture
def large_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools above 10 rows count as large."""
    monkeypatch.setattr(dpp_similarity, "EXACT_ROWS", 10)
    monkeypatch.setattr(dpp_similarity, "FEWEST_FEATURES", 16)


@pytest.mark.parametrize("spec", ["ua-dpp:form=distance", "ua-dpp:method=map", "ua-dpp:score=margin,gamma=5"])
def test_every_form_that_has_full_rank_obeys_the_laws(spec: str) -> None:
    check_strategy(spec)


@pytest.mark.parametrize("form", ["quality", "distance"])
@pytest.mark.parametrize("embeddings", [np.ones((40, 4)), np.zeros((40, 4)), np.repeat(np.eye(8), 5, axis=0)])
@pytest.mark.parametrize("labeled", [[], [1, 2, 39]])
def test_copies_give_k_distinct_rows(form: str, embeddings: Array, labeled: list[int]) -> None:
    logits = pool(40)[0]
    for arrays in ((logits, embeddings.astype(np.float32)), (logits * 0 + 50 * np.eye(3)[0], embeddings)):
        got = select(f"ua-dpp:form={form}", (arrays[0].astype(np.float32), arrays[1]), 15, labeled=labeled)
        assert len(set(got.sample_ids.tolist())) == 15


def test_large_pools_of_copies_give_k_distinct_rows_or_say_why_not(large_pools: None) -> None:
    logits, copies = pool(40)[0], np.repeat(np.eye(8, dtype=np.float32), 5, axis=0)
    assert len(set(select("ua-dpp", (logits, copies), 15).sample_ids.tolist())) == 15
    assert len(set(select("ua-dpp:form=distance", (logits, copies), 15).sample_ids.tolist())) == 15
    certain = np.tile(np.array([200, 0, 0], dtype=np.float32), (40, 1))
    with pytest.raises(UsageError, match=r"rank 8 .*below the budget of 15"):
        select("ua-dpp:form=distance", (certain, copies), 15)


def test_uncertain_samples_come_more_often_and_the_form_is_in_the_details() -> None:
    logits, embeddings = pool(200, classes=2)
    logits[:100], logits[100:] = [9, 0], [0, 0]
    for form in ("quality", "distance"):
        picks = [select(f"ua-dpp:form={form}", (logits, embeddings), 8, seed=s) for s in range(30)]
        share = np.mean([(picked.sample_ids >= 100).mean() for picked in picks])
        assert share > 0.55, form
        assert picks[0].receipt.details["form"] == form
        assert picks[0].receipt.approx == ""


def test_gamma_zero_is_the_plain_dpp_with_its_approximation() -> None:
    first, second = (pool(80, seed=seed)[0] for seed in (1, 2))
    embeddings = pool(80)[1]
    one, two = (select("ua-dpp:gamma=0", (logits, embeddings), 10).sample_ids for logits in (first, second))
    np.testing.assert_array_equal(one, two)


def test_gamma_is_lowered_where_a_cluster_would_starve() -> None:
    rng = np.random.default_rng(0)
    of_row = np.repeat([0, 1], 60)
    embeddings = (np.eye(2, 8)[of_row] + 0.2 * rng.normal(size=(120, 8))).astype(np.float32)
    logits = np.where(of_row[:, None] == 0, [12.0, 0.0], [0.0, 0.0]).astype(np.float32)
    details = select("ua-dpp:gamma=10", (logits, embeddings), 10).receipt.details
    assert details["gamma_asked"] == 10
    assert 0 < details["gamma"] < 10
    assert details["fewest_expected_of_a_stratum"] >= 1


def test_a_large_pool_names_its_features_and_its_sample(large_pools: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ua_dpp, "STRATA_ROWS", 40)
    receipt = select("ua-dpp", pool(), 10).receipt
    assert "random Fourier features" in receipt.approx
    assert "gamma was bounded on 40 candidates" in receipt.approx


def test_distance_of_a_large_pool_is_a_named_chain_with_diagnostics(large_pools: None) -> None:
    got = select("ua-dpp:form=distance,steps=300", pool(), 10, labeled=[3, 4])
    assert len(set(got.sample_ids.tolist())) == 10
    assert got.receipt.solver == "up-down Markov chain"
    assert got.receipt.approx.startswith("MCMC: 300 steps")
    details = got.receipt.details
    assert details["steps"] == 300
    assert 0 < details["acceptance"] < 1
    assert details["log_det_start"] > details["log_det_second_half"]  # it starts from the greedy maximum
    greedy = select("ua-dpp:form=distance,method=map", pool(), 10)
    assert "1 / k!" in greedy.receipt.approx
    assert greedy.scores is not None


def test_chain_and_matrix_agree_on_how_often_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {}
    for rows in (2000, 1):
        monkeypatch.setattr(dpp_similarity, "EXACT_ROWS", rows)
        picks = [select("ua-dpp:form=distance,steps=60", pool(20), 5, seed=s).sample_ids for s in range(100)]
        counts[rows] = np.bincount(np.concatenate(picks), minlength=20) / 100
    spread = np.sqrt(2 * 0.25 * 0.75 / 100)
    assert np.abs(counts[2000] - counts[1]).max() < 4 * spread


def test_as_printed_holds_at_most_d_plus_one_picks_and_says_why() -> None:
    arrays = pool(60, d=4)
    got = select("ua-dpp:form=paper,condition=none", arrays, 5)
    assert len(set(got.sample_ids.tolist())) == 5
    assert "negative eigenvalues" in got.receipt.approx
    assert 0 < got.receipt.details["removed_negative_mass"] < 1
    with pytest.raises(UsageError, match=r"at most d \+ 1 = 5.*got 6"):
        select("ua-dpp:form=paper,condition=none", arrays, 6)
    with pytest.raises(UsageError, match="defines no DPP"):
        select("ua-dpp:form=paper,psd=raise", arrays, 5)
    assert len(select("ua-dpp:form=paper", arrays, 4, labeled=[1, 2, 3])) == 4


def test_limits_of_size_point_to_the_default_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ua_dpp, "CHAIN_ROWS", 50)
    monkeypatch.setattr(ua_dpp, "EQUATION_ROWS", 50)
    for form in ("distance", "paper"):
        with pytest.raises(UsageError, match=r"at most 50 rows, got 60 candidates.*form=quality"):
            select(f"ua-dpp:form={form}", pool(), 5)
    monkeypatch.setattr(ua_dpp, "CHAIN_ROWS", 100)
    monkeypatch.setattr(dpp_similarity, "EXACT_ROWS", 10)
    monkeypatch.setattr(dpp_equation, "CHAIN_BYTES", 100)
    with pytest.raises(UsageError, match="smaller budget"):
        select("ua-dpp:form=distance", pool(), 5)


def test_automatic_steps_propose_every_candidate_within_the_work_allowed() -> None:
    assert dpp_equation.automatic_steps(1000, 20, 16) == int(np.ceil(1000 * np.log(21)))
    steps = dpp_equation.automatic_steps(50_000, 1000, 128)
    assert steps * 1000 * 1128 <= dpp_equation.CHAIN_WORK


def test_one_class_has_no_uncertainty_and_still_picks() -> None:
    logits, embeddings = pool(classes=1)
    for form in ("quality", "distance"):
        assert len(select(f"ua-dpp:form={form}", (logits, embeddings), 10)) == 10


def test_numbers_that_are_none_are_errors_that_name_the_sample() -> None:
    logits, embeddings = pool()
    embeddings[17, 3] = np.inf
    for form in ("quality", "distance", "paper"):
        with pytest.raises(NonFiniteError, match="'17'"):
            select(f"ua-dpp:form={form}", (logits, embeddings), 5)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("ua-dpp:form=sum", "form must be quality or distance or paper"),
        ("ua-dpp:psd=ignore", "psd must be clip or raise"),
        ("ua-dpp:gamma=11", "gamma must be within 0 .. 10"),
        ("ua-dpp:gamma=nan", "gamma must be within 0 .. 10"),
        ("ua-dpp:a=0", "a must be above 0"),
        ("ua-dpp:b=-1", "b must be above 0"),
        ("ua-dpp:steps=-1", "steps must be 0 or more"),
        ("ua-dpp:score=loss", "score must need logits only"),
        ("ua-dpp:score=no-such-score", "no-such-score"),
        ("ua-dpp:form=distance,kernel=linear", "form=distance takes the cosine"),
        ("ua-dpp:scale=0", "scale must be above 0"),
    ],
)
def test_wrong_parameters_are_refused(spec: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse(spec)


def test_a_sample_of_the_pool_lowers_gamma_no_less_than_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    of_row = np.repeat([0, 1], 600)
    embeddings = (np.eye(2, 8)[of_row] + 0.2 * rng.normal(size=(1200, 8))).astype(np.float32)
    logits = np.where(of_row[:, None] == 0, [12.0, 0.0], [0.0, 0.0]).astype(np.float32)
    gammas = []
    for rows in (10_000, 240):
        monkeypatch.setattr(ua_dpp, "FEWER_STRATA_ROWS", rows)
        monkeypatch.setattr(ua_dpp, "MANY_PICKS", 1)  # as many as 200 of 1,200 are many of a sample of 240
        details = select("ua-dpp:gamma=10", (logits, embeddings), 200).receipt.details
        gammas.append(details["gamma"])
        assert details["fewest_expected_of_a_stratum"] >= 1
    assert 0 < gammas[1] <= gammas[0] < 10


def test_a_sample_is_asked_for_its_share_of_many_picks_and_for_a_tenth_at_least() -> None:
    assert ua_dpp.picks_of_sample(1_500, 10_000, 60_000) == 1_500
    assert ua_dpp.picks_of_sample(8_000, 3_000, 60_000) == 400
    assert ua_dpp.picks_of_sample(2_000, 3_000, 60_000) == 300
    assert ua_dpp.picks_of_sample(2_500, 3_000, 3_000) == 2_500
    assert ua_dpp.picks_of_sample(50, 40, 60) == 40


def test_the_matrix_of_a_few_rows_is_that_of_their_features(large_pools: None) -> None:
    query_of = dpp_similarity.SimilarityChoice(
        kernel="rbf", metric="cosine", scale=0.5, features=0, conditioned=True, noise=0.1
    )
    logits, embeddings = pool()
    predictions = Predictions.from_arrays(np.arange(60), logits=logits, embeddings=embeddings)
    seen = {}

    class Spy(type(parse("k-dpp"))):  # type: ignore[misc]
        def pick(self, query: Any, rng: Any) -> Any:
            seen["query"] = query
            return super().pick(query, rng)

    Spy().select(predictions, budget=6, labeled=[3, 4])
    similarity = query_of.of(seen["query"], np.random.default_rng(0))
    rows = np.array([5, 7, 50])
    part = similarity.subset(rows)
    assert isinstance(part, dpp_similarity.MatrixSimilarity)
    whole = similarity.ensemble().feature_rows()
    np.testing.assert_allclose(part.kernel, whole(rows) @ whole(rows).T, atol=1e-6)
