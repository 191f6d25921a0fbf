"""Ensemble scores against the whole (e, n, c) tensor in float64, and their invariants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import foresift
from foresift.core.errors import MissingColumnError, NonFiniteError, UsageError
from foresift.core.members import merge, no_members, one_member, state_of
from foresift.core.predictions import Predictions
from foresift.scores import SCORES, Score
from foresift.scores.ensemble import (
    error_count,
    mean_std,
    mutual_information,
    predictive_entropy,
    variation_ratios,
    vote_entropy,
)
from foresift.scores.uncertainty import entropy

Array = np.ndarray[Any, Any]
FROM_STATE = [predictive_entropy, mutual_information, variation_ratios, vote_entropy, mean_std]
ensembles = st.builds(
    lambda e, c, scale, seed: np.random.default_rng(seed).normal(scale=scale, size=(e, 8, c)).astype(np.float32),
    st.integers(1, 7),
    st.integers(1, 5),
    st.sampled_from([0.1, 2, 30]),
    st.integers(0, 10_000),
)


def slow_predictive_entropy(probs: Array) -> Array:
    return np.asarray(scipy.stats.entropy(probs.mean(axis=0), axis=1))


def slow_mutual_information(probs: Array) -> Array:
    """The mean Kullback-Leibler divergence of the members to their mean: another formula on purpose."""
    return np.asarray(scipy.special.rel_entr(probs, probs.mean(axis=0)).sum(axis=2).mean(axis=0))


def slow_votes(probs: Array) -> Array:
    return np.stack([np.bincount(row, minlength=probs.shape[2]) for row in probs.argmax(axis=2).T])


def slow_variation_ratios(probs: Array) -> Array:
    return np.array([1 - max(row) / len(probs) for row in slow_votes(probs)])


def slow_vote_entropy(probs: Array) -> Array:
    highest = np.log(min(len(probs), probs.shape[2]))
    return np.asarray(scipy.stats.entropy(slow_votes(probs), axis=1) / (highest or 1))


def slow_mean_std(probs: Array) -> Array:
    return np.asarray(probs.std(axis=0).mean(axis=1))


@pytest.mark.parametrize(("e", "c"), [(1, 3), (4, 2), (3, 7), (100, 10), (100, 60)])
@pytest.mark.parametrize(
    ("score", "slow"),
    [
        (predictive_entropy, slow_predictive_entropy),
        (mutual_information, slow_mutual_information),
        (variation_ratios, slow_variation_ratios),
        (vote_entropy, slow_vote_entropy),
        (mean_std, slow_mean_std),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_scores_are_their_definitions(score: Score, slow: Callable[[Array], Array], e: int, c: int) -> None:
    logits = np.random.default_rng(e + c).normal(scale=3, size=(e, 200, c)).astype(np.float32)
    probs = scipy.special.softmax(logits.astype(np.float64), axis=2)
    np.testing.assert_allclose(score(state_of(iter(logits))), slow(probs), atol=1e-5)


@given(ensembles, st.integers(0, 99))
def test_error_count_is_its_definition_and_never_below_variation_ratios(logits: Array, seed: int) -> None:
    truth = np.random.default_rng(seed).integers(0, logits.shape[2], size=8)
    state = state_of(logits)
    values = error_count(state, truth)
    np.testing.assert_allclose(values, (logits.argmax(axis=2) != truth).mean(axis=0), atol=1e-15)
    assert (values >= variation_ratios(state)).all()
    mode = state["votes"].argmax(axis=1)
    np.testing.assert_array_equal(error_count(state, mode), variation_ratios(state))


@given(ensembles)
def test_scores_stay_in_their_ranges(logits: Array) -> None:
    e, _, c = logits.shape
    state = state_of(logits)
    h, mi, vr, ve, std = (score(state) for score in FROM_STATE)
    assert ((h >= 0) & (h <= np.log(c) + 1e-6)).all()
    assert ((mi >= 0) & (mi <= h) & (mi <= np.log(min(c, e)) + 1e-6)).all()
    assert ((vr >= 0) & (vr <= 1 - 1 / min(c, e) + 1e-12)).all()
    assert ((ve >= 0) & (ve <= 1)).all()
    assert ((std >= 0) & (std <= 0.5)).all()


@given(ensembles)
def test_one_member_knows_no_disagreement(logits: Array) -> None:
    state = one_member(logits[0])
    for score in (mutual_information, variation_ratios, vote_entropy, mean_std):
        assert not score(state).any()
    np.testing.assert_allclose(predictive_entropy(state), entropy(logits[0]), rtol=1e-4, atol=1e-6)


@given(ensembles, st.integers(1, 50))
def test_members_that_agree_know_none_either(logits: Array, e: int) -> None:
    state = state_of([logits[0]] * e)
    for score in (mutual_information, variation_ratios, vote_entropy, mean_std):
        assert not score(state).any()
    np.testing.assert_array_equal(predictive_entropy(state), predictive_entropy(one_member(logits[0])))


def test_members_that_differ_know_some() -> None:
    logits = np.array([[[0.0, 0.1]], [[0.0, 0.2]]], dtype=np.float32)
    assert mutual_information(state_of(logits)) > 0
    assert mean_std(state_of(logits)) > 0


@given(ensembles, st.randoms(use_true_random=False))
def test_order_copies_and_parts_change_only_the_last_places(logits: Array, random: Any) -> None:
    state, order = state_of(logits), list(range(len(logits)))
    random.shuffle(order)
    cut = random.randint(0, len(logits))
    parts = merge(
        state_of(logits[:cut], start=no_members(8, logits.shape[2])),
        state_of(logits[cut:], start=no_members(8, logits.shape[2])),
    )
    for score in FROM_STATE:
        values = score(state)
        for other in (state_of(logits[order]), parts):
            np.testing.assert_allclose(score(other), values, atol=2e-6)
        if score is not vote_entropy:  # its normaliser knows the number of members
            np.testing.assert_allclose(score(state_of(np.repeat(logits, 2, axis=0))), values, atol=2e-6)
    for score in (variation_ratios, vote_entropy):
        np.testing.assert_array_equal(score(state_of(logits[order])), score(state))
        np.testing.assert_array_equal(score(parts), score(state))


@given(ensembles, st.integers(-64, 64))
def test_a_constant_added_to_a_members_logits_changes_nothing(logits: Array, constant: int) -> None:
    whole = np.round(logits * 16) / 16
    for score in FROM_STATE:
        np.testing.assert_array_equal(score(state_of(whole)), score(state_of(whole + np.float32(constant))))


@pytest.mark.parametrize("truth", [[0, 3], [-1, 0], [0.5, 0.5]])
def test_error_count_refuses_classes_that_the_members_do_not_know(truth: list[float]) -> None:
    with pytest.raises(UsageError, match=r"within 0 \.\. 2"):
        error_count(one_member(np.zeros((2, 3))), np.array(truth))


def test_other_names_lead_to_the_same_scores() -> None:
    pairs = {
        "bald": mutual_information,
        "BALDDropout": mutual_information,
        "query-by-committee": vote_entropy,
        "MeanSTD": mean_std,
    }
    assert all(SCORES.get(alias) is score for alias, score in pairs.items())


def predictions(n: int = 12) -> Predictions:
    logits = np.random.default_rng(0).normal(size=(5, n, 4)).astype(np.float32)
    return Predictions.from_arrays([f"s{i:02d}" for i in range(n)], member_logits=logits)


def test_the_public_door_gives_every_score() -> None:
    made = predictions()
    for score in FROM_STATE:
        np.testing.assert_array_equal(foresift.score(made, score.name).values, score(made.column("members")))
    truth = np.arange(12) % 4
    values = foresift.score(made, "error-count", labels=truth).values
    np.testing.assert_array_equal(values, error_count(made.column("members"), truth))
    with pytest.raises(UsageError, match="needs labels"):
        foresift.score(made, "error-count")
    plain = Predictions.from_arrays(["a"], logits=np.zeros((1, 2)))
    with pytest.raises(MissingColumnError, match="give member_logits"):
        foresift.score(plain, "bald")


def test_ordinary_scores_rank_the_consensus() -> None:
    made = predictions()
    np.testing.assert_allclose(
        foresift.score(made, "entropy").values, foresift.score(made, "predictive-entropy").values, atol=1e-6
    )
    assert len(foresift.select(made, "margin", budget=3)) == 3


@pytest.mark.parametrize("score", FROM_STATE, ids=lambda s: s.name)
def test_a_sample_that_no_member_saw_is_refused_by_name(score: Score) -> None:
    made = predictions()
    state = made.column("members").copy()
    state[7] = no_members(1, 4)
    unseen = Predictions.from_arrays(made.sample_ids, members=state)
    with pytest.raises(NonFiniteError, match="'s07'"):
        foresift.score(unseen, score.name)
    with pytest.raises(NonFiniteError, match="'s07'"):
        foresift.select(unseen, score.name, budget=2)
