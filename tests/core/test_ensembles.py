"""Lists of members and what they have said: order, merging, extension, refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.ensembles import Ensemble, Member, Spoken
from foresift.core.errors import DataError, ForesiftError, ModelError, UsageError
from foresift.core.generations import Transform
from foresift.scores.ensemble import mutual_information, predictive_entropy, variation_ratios

CLASSES = ("a", "b", "c")


def spoken(logits: np.ndarray, names: list[str], ids: np.ndarray | None = None) -> Spoken:
    begun = Spoken.none(np.arange(logits.shape[1]) if ids is None else ids, CLASSES)
    return reduce(lambda so_far, one: so_far.heard(one[0], one[1]), zip(names, logits, strict=True), begun)


@given(st.integers(2, 8), st.integers(1, 12), st.integers(0, 99), st.data())
def test_parts_of_the_members_in_any_order_merge_to_one_pass(e: int, n: int, seed: int, data: st.DataObject) -> None:
    logits = 4 * np.random.default_rng(seed).normal(size=(e, n, 3)).astype(np.float32)
    names = [f"member-{number}" for number in range(e)]
    cut = data.draw(st.integers(1, e - 1))
    order = data.draw(st.permutations(range(e)))
    whole = spoken(logits, names)
    first, second = (spoken(logits[part], [names[m] for m in part]) for part in (order[:cut], order[cut:]))
    for merged in (first.merged(second), second.merged(first)):
        assert merged.members == whole.members == tuple(sorted(names))
        for field in ("mean", "entropy", "scatter"):
            np.testing.assert_allclose(merged.state[field], whole.state[field], atol=1e-6)
        for field in ("votes", "count"):
            np.testing.assert_array_equal(merged.state[field], whole.state[field])
        for score in (predictive_entropy, mutual_information, variation_ratios):
            np.testing.assert_allclose(score(merged.state), score(whole.state), atol=1e-6)


@given(st.integers(2, 12), st.integers(0, 99))
def test_parts_of_the_samples_merge_to_the_very_same(n: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, n, 3)).astype(np.float32)
    names, ids = ["x", "y", "z"], np.array([f"{number:02d}" for number in range(n)])
    some = np.random.default_rng(seed).random(n) < 0.5
    first, second = (spoken(logits[:, part], names, ids[part]) for part in (some, ~some))
    merged = first.merged(second)
    np.testing.assert_array_equal(merged.sample_ids, ids)
    np.testing.assert_array_equal(merged.state, spoken(logits, names, ids).state)


def test_hearing_one_more_changes_nothing_that_was_there() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    before = spoken(logits[:1], ["x"])
    kept = before.state.copy()
    after = before.heard("y", logits[1])
    np.testing.assert_array_equal(before.state, kept)
    assert (before.members, after.members) == (("x",), ("x", "y"))


def test_a_member_that_would_count_twice_is_refused() -> None:
    logits = np.zeros((2, 4, 3), dtype=np.float32)
    part = spoken(logits, ["x", "y"])
    with pytest.raises(UsageError, match="spoken already"):
        part.heard("x", logits[0])
    with pytest.raises(UsageError, match="speaks in both parts"):
        part.merged(spoken(logits, ["y", "z"]))


def test_parts_that_do_not_fit_are_refused() -> None:
    part = spoken(np.zeros((1, 4, 3), dtype=np.float32), ["x"])
    with pytest.raises(UsageError, match="classes"):
        part.merged(replace(part, classes=("a", "b", "d")))
    other = spoken(np.zeros((1, 4, 3), dtype=np.float32), ["y"], np.arange(2, 6))
    with pytest.raises(UsageError, match="these hold 4 and 4 samples"):
        part.merged(other)
    with pytest.raises(DataError, match="do not fit the samples"):
        replace(part, sample_ids=np.arange(3))


def member(name: str, weights: str) -> Member:
    return Member(folder=name, generation=f"id of {name}", weights=weights)


def ensemble(*members: Member) -> Ensemble:
    return Ensemble(members=members, classes=CLASSES, transform=Transform(size=8))


def test_a_list_comes_back_whole_and_its_digest_knows_no_order() -> None:
    two = ensemble(member("one", "w1"), member("two", "w2"))
    assert Ensemble.from_dict(two.to_dict()) == two
    assert ensemble(member("two", "w2"), member("one", "w1")).digest == two.digest
    assert ensemble(member("one", "w1"), member("two", "w3")).digest != two.digest


def test_lists_without_members_with_one_twice_or_changed_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        ensemble()
    with pytest.raises(UsageError, match="the same weights as one"):
        ensemble(member("one", "w"), member("two", "w"))
    plain = ensemble(member("one", "w1"), member("two", "w2")).to_dict()
    for changed in ({**plain, "members": plain["members"][:1]}, {**plain, "format": 9}, {**plain, "classes": None}, {}):
        with pytest.raises((ModelError, ForesiftError)):
            Ensemble.from_dict(changed)
