"""The state of an ensemble against the whole (e, n, c) tensor in float64, and that it is a monoid."""

from __future__ import annotations

import tracemalloc
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.digests import digest_array
from foresift.core.errors import DataError, NonFiniteError, UsageError
from foresift.core.members import (
    Members,
    add,
    as_numbers,
    consensus,
    entropy_of,
    from_numbers,
    is_state,
    member_dtype,
    merge,
    merge_samples,
    no_members,
    one_member,
    state_of,
)
from foresift.core.predictions import Predictions

Array = np.ndarray[Any, Any]
ULPS = 4e-7
"""What the order of members may change in numbers near 1: a few units in the last place of float32."""


def drawn(e: int, n: int = 30, c: int = 5, *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(scale=3, size=(e, n, c)).astype(np.float32)


def close(a: Array, b: Array, atol: float = ULPS) -> None:
    for name in ("mean", "entropy"):
        np.testing.assert_allclose(a[name], b[name], atol=atol)
    np.testing.assert_allclose(Members(a).variance, Members(b).variance, atol=atol)
    np.testing.assert_array_equal(a["votes"], b["votes"])
    np.testing.assert_array_equal(a["count"], b["count"])


@pytest.mark.parametrize(("e", "c"), [(1, 2), (7, 40), (100, 10), (1003, 3)])
def test_the_state_is_what_the_whole_tensor_says(e: int, c: int) -> None:
    logits = drawn(e, 20, c)
    probs = scipy.special.softmax(logits.astype(np.float64), axis=2)
    state = Members(state_of(iter(logits)))
    np.testing.assert_allclose(state.mean, probs.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(state.variance, probs.var(axis=0), atol=1e-6)
    np.testing.assert_allclose(state.entropy, scipy.stats.entropy(probs, axis=2).mean(axis=0), atol=2e-6)
    votes = np.stack([np.bincount(row, minlength=c) for row in probs.argmax(axis=2).T])
    np.testing.assert_array_equal(state.votes, votes)
    assert (state.counts == e).all()
    assert state.classes == c


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_it_is_a_monoid(a: int, b: int, c: int, seed: int) -> None:
    logits = drawn(a + b + c, 6, 3, seed=seed)
    x, y, z = (state_of(part) for part in np.split(logits, [a, a + b]))
    neutral = no_members(6, 3)
    assert digest_array(merge(x, neutral)) == digest_array(merge(neutral, x)) == digest_array(x)
    close(merge(merge(x, y), z), merge(x, merge(y, z)))
    close(merge(x, y), merge(y, x))
    close(merge(merge(x, y), z), state_of(logits))


def test_a_state_is_extended_and_stays_as_it_was() -> None:
    logits = drawn(9)
    first = state_of(logits[:4])
    before = digest_array(first)
    assert digest_array(state_of(logits[4:], start=first)) == digest_array(state_of(logits))
    assert digest_array(first) == before
    merge(first, first)
    assert digest_array(first) == before


def test_adding_one_is_merging_one() -> None:
    logits = drawn(5)
    merged = no_members(30, 5)
    for member in logits:
        merged = merge(merged, one_member(member))
    assert digest_array(merged) == digest_array(state_of(logits))


@given(st.integers(1, 40), st.integers(0, 99))
def test_members_that_agree_leave_every_mean_bit_for_bit(e: int, seed: int) -> None:
    member = drawn(1, seed=seed)[0]
    state, one = state_of([member] * e), one_member(member)
    np.testing.assert_array_equal(state["mean"], one["mean"])
    np.testing.assert_array_equal(state["entropy"], entropy_of(state["mean"]))
    assert not state["scatter"].any()


def test_floats_get_wide_before_steps_get_lost() -> None:
    logits = drawn(2, 4, 3)
    thousand = state_of([logits[0]] * 1000)
    assert thousand["mean"].dtype == np.float32
    more = add(thousand.copy(), logits[1])
    assert more["mean"].dtype == np.float64
    assert merge(thousand, one_member(logits[1])).dtype == more.dtype
    expected = (1000 * scipy.special.softmax(logits[0], axis=1) + scipy.special.softmax(logits[1], axis=1)) / 1001
    np.testing.assert_allclose(more["mean"], expected, atol=1e-6)
    assert is_state(more)


def test_a_vote_can_be_counted_65535_times_and_not_once_more() -> None:
    state = np.zeros(2, dtype=member_dtype(3, members=65_534))
    state["votes"][:, 1] = state["count"] = 65_534
    full = add(state, np.eye(3, dtype=np.float32)[[1, 1]])
    assert full["votes"][0].tolist() == [0, 65_535, 0]
    with pytest.raises(UsageError, match="at most 65535"):
        add(full, np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(UsageError, match="at most 65535"):
        merge(full, full)


def test_equal_logits_vote_for_the_lowest_class() -> None:
    assert one_member(np.array([[1.0, 2, 2], [0, 0, 0]]))["votes"].tolist() == [[0, 1, 0], [1, 0, 0]]


def test_extreme_logits_neither_overflow_nor_turn_into_nan() -> None:
    logits = np.array([[1e4, -1e4, 0], [3e38, -3e38, 0], [-3e38, -3e38, -3e38]], dtype=np.float32)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        state = state_of([logits, -logits])
        assert np.isfinite(entropy_of(state["mean"])).all()
        assert np.isfinite(consensus(state)).all()
    np.testing.assert_allclose(state["mean"][:2], [[0.5, 0.5, 0]] * 2)
    np.testing.assert_allclose(state["mean"][2], 1 / 3, rtol=1e-6)


@given(st.integers(0, 99))
def test_entropy_is_its_definition_and_scale_free(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(6, 0.05), size=20)
    expected = scipy.stats.entropy(probs, axis=1)
    np.testing.assert_allclose(entropy_of(probs), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(entropy_of(7 * probs), expected, rtol=1e-9, atol=1e-12)
    assert (entropy_of(probs.astype(np.float32)) >= 0).all()


def test_a_rows_state_does_not_depend_on_the_rows_beside_it() -> None:
    for c in (2, 9, 50):
        logits = drawn(3, 12, c)
        alone = np.concatenate([state_of(logits[:, i : i + 1]) for i in range(12)])
        assert digest_array(alone) == digest_array(state_of(logits))


def test_memory_is_the_state_and_a_block_and_never_every_member() -> None:
    n, c = 40_000, 10
    member = drawn(1, n, c)[0]
    state = add(no_members(n, c), member)
    tracemalloc.start()
    for _ in range(20):
        state = add(state, member)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20, "float32 probabilities of 20 members take 32 MB"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: merge(no_members(3, 2), no_members(3, 4)), "states differ: 3 samples of 2 classes and"),
        (lambda: merge(no_members(3, 2), no_members(4, 2)), "states differ"),
        (lambda: add(no_members(3, 2), np.zeros((3, 5))), r"shape \(3, 2\), got \(3, 5\)"),
        (lambda: Members(np.zeros(3)), "must be a state"),
        (lambda: Members(np.zeros(3, dtype=[("mean", "f4")])), "must be a state"),
        (lambda: no_members(3, 0), "1 class or more"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize(("n", "c"), [(30, 5), (1, 1), (0, 3)])
def test_rows_of_numbers_hold_a_state_bit_for_bit(n: int, c: int) -> None:
    state = state_of(drawn(6, n, c))
    rows = as_numbers(state)
    assert rows.shape == (n, 3 * c + 2)
    assert rows.dtype == np.float32
    assert digest_array(from_numbers(rows)) == digest_array(state)


def test_rows_that_hold_no_state_are_refused() -> None:
    with pytest.raises(UsageError, match="3 c \\+ 2 numbers"):
        from_numbers(np.zeros((2, 6), dtype=np.float32))
    with pytest.raises(UsageError, match="up to 1000 members"):
        as_numbers(np.zeros(2, dtype=member_dtype(3, members=1001)))


# ---- as a column of predictions


def ids_of(n: int) -> list[str]:
    return [f"s{i:03d}" for i in range(n)]


def test_an_array_gives_the_state_a_view_and_the_consensus() -> None:
    logits = drawn(4)
    made = Predictions.from_arrays(ids_of(30), member_logits=logits)
    assert list(made.columns) == ["members", "logits", "member-logits"]
    assert np.shares_memory(made.column("member-logits"), logits)
    assert made.column("member-logits").shape == (30, 4, 5)
    np.testing.assert_array_equal(made.column("member-logits")[7, 2], logits[2, 7])
    mean = scipy.special.softmax(logits.astype(np.float64), axis=2).mean(axis=0)
    np.testing.assert_allclose(scipy.special.softmax(made.column("logits"), axis=1), mean, atol=1e-6)


def test_logits_that_are_given_stay() -> None:
    given_logits = drawn(1)[0]
    made = Predictions.from_arrays(ids_of(30), logits=given_logits, member_logits=drawn(4))
    assert np.shares_memory(made.column("logits"), given_logits)


def test_an_iterator_is_read_once_and_one_member_is_held_at_a_time() -> None:
    logits = drawn(6)
    made_ones: list[weakref.ref[Array]] = []

    def one(member: Array) -> Array:
        assert not [earlier for earlier in made_ones if earlier() is not None]
        copy = member.copy()
        made_ones.append(weakref.ref(copy))
        return copy

    def members() -> Any:
        for member in logits:
            yield one(member)

    made = Predictions.from_arrays(ids_of(30), member_logits=members())
    assert "member-logits" not in made.columns
    assert len(made_ones) == 6
    assert digest_array(made.column("members")) == digest_array(state_of(logits))


def test_two_machines_and_a_resumed_pass_give_one_state() -> None:
    logits, ids = drawn(7), ids_of(30)
    one = Predictions.from_arrays(ids, member_logits=logits[:3])
    resumed = Predictions.from_arrays(ids, members=one.column("members"), member_logits=logits[3:])
    assert digest_array(resumed.column("members")) == digest_array(state_of(logits))
    assert "member-logits" not in resumed.columns
    other = Predictions.from_arrays(ids, member_logits=logits[3:])
    merged = Predictions.from_arrays(ids, members=merge(one.column("members"), other.column("members")))
    close(merged.column("members"), resumed.column("members"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_member_that_is_not_finite_names_the_sample(bad: float) -> None:
    logits = drawn(4)
    logits[2, 17, 1] = bad
    for given_logits in (logits, iter(logits)):
        with pytest.raises(NonFiniteError, match="logits of member 2 of sample 's017'"):
            Predictions.from_arrays(ids_of(30), member_logits=given_logits)


@pytest.mark.parametrize("field", ["mean", "scatter", "entropy"])
def test_a_state_that_is_not_finite_names_the_sample(field: str) -> None:
    state = state_of(drawn(3))
    state[field][11] = np.nan
    with pytest.raises(NonFiniteError, match="members of sample 's011'"):
        Predictions.from_arrays(ids_of(30), members=state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"member_logits": np.zeros((3, 2))}, r"shape \(e, n, c\), got \(3, 2\)"),
        ({"member_logits": np.zeros((3, 2, 4))}, "member 0 has shape"),
        ({"member_logits": [np.zeros((30, 2)), np.zeros((30, 3))]}, "member 1 has shape"),
        ({"member_logits": [np.zeros(30)]}, "member 0 has shape"),
        ({"member_logits": []}, "at least one member"),
        ({"members": no_members(29, 3)}, "30 ids but 29 rows of members"),
    ],
)
def test_shapes_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions.from_arrays(ids_of(30), **arguments)


def test_the_column_is_taken_sliced_mapped_and_digested_like_any(tmp_path: Path) -> None:
    ids, state = ids_of(30), state_of(drawn(3))
    np.save(tmp_path / "members.npy", state)
    mapped = np.load(tmp_path / "members.npy", mmap_mode="r")
    made = Predictions.from_arrays(ids, members=mapped)
    plain = Predictions.from_arrays(ids, members=state)
    order = np.random.default_rng(0).permutation(30)
    assert made.digest(["members"]) == plain.digest(["members"]) == plain.take(order).digest(["members"])
    part = plain.take(np.array([4, 2]))
    np.testing.assert_array_equal(part.column("members"), state[[4, 2]])
    changed = state.copy()
    changed["scatter"][3, 1] += 1
    assert Predictions.from_arrays(ids, members=changed).digest(["members"]) != plain.digest(["members"])
    renamed = state.view(
        [
            (f"x{name}", state.dtype[name].str if not state.dtype[name].shape else state.dtype[name])
            for name in state.dtype.names or ()
        ]
    )
    assert digest_array(renamed) != digest_array(state)


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 4), st.integers(0, 99))
def test_parts_of_a_pool_merge_to_all_samples_to_the_bit(cuts: list[int], members: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((members, 40, 3)).astype(np.float32)
    ids = np.sort(rng.choice(999, 40, replace=False))
    parts = [slice(*pair) for pair in pairwise(sorted({0, *cuts, 40}))]
    made = [(ids[part], state_of(logits[:, part])) for part in parts]
    merged_ids, merged = merge_samples([made[at] for at in rng.permutation(len(made))])
    assert merged_ids.tolist() == ids.tolist()
    assert merged.tobytes() == state_of(logits).tobytes()


def test_parts_of_a_pool_that_do_not_fit_are_refused() -> None:
    three, two = (state_of([np.zeros((2, c), dtype=np.float32)]) for c in (3, 2))
    with pytest.raises(UsageError, match="same classes"):
        merge_samples([(np.arange(2), three), (np.arange(2, 4), two)])
    with pytest.raises(UsageError, match="one part or more"):
        merge_samples([])
    with pytest.raises(UsageError, match="two parts"):
        merge_samples([(np.arange(2), three), (np.arange(1, 3), three)])
