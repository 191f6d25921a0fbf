"""BatchBALD against joint mutual information by enumeration."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.core.predictions import Column, Predictions
from foresift.core.queries import Selection
from foresift.kernels.greedy import TIE
from foresift.strategies import parse
from foresift.strategies.batch_bald import BatchBald
from information import joint_information, member_logits

Array = npt.NDArray[np.floating]


def select(logits: Array, k: int, strategy: BatchBald | None = None, seed: int = 0) -> Selection:
    made = Predictions.from_arrays(np.arange(len(logits)))
    made = replace(made, columns={"member-logits": Column(values=np.asarray(logits))})
    return (strategy or BatchBald()).select(made, budget=k, seed=seed)


def naive(logits: Array, k: int) -> list[int]:
    picks: list[int] = []
    for _ in range(k):
        now = joint_information(logits, picks) if picks else 0.0
        gains = {row: joint_information(logits, [*picks, row]) - now for row in range(len(logits)) if row not in picks}
        best = max(gains.values())
        picks.append(min(row for row, gain in gains.items() if gain >= best * (1 - TIE)))
    return picks


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "e", "c"), [(6, 4, 2), (5, 2, 3)])
def test_picks_and_gains_are_those_of_enumeration(n: int, e: int, c: int, seed: int) -> None:
    logits = member_logits(n, e, c, seed)
    selection = select(logits, n)
    assert selection.sample_ids.tolist() == naive(logits, n)
    reached = [joint_information(logits, selection.sample_ids[: k + 1].tolist()) for k in range(n)]
    assert selection.scores is not None
    np.testing.assert_allclose(np.cumsum(selection.scores), reached, atol=1e-9)
    assert selection.receipt.approx == ""
    best = max(joint_information(logits, rows) for rows in combinations(range(n), 3))
    assert reached[2] >= (1 - 1 / np.e) * best


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_the_first_pick_is_the_largest_bald(n: int, e: int, c: int, seed: int) -> None:
    logits = member_logits(n, e, c, seed)
    bald = [joint_information(logits, [row]) for row in range(n)]
    selection = select(logits, 1)
    assert bald[selection.sample_ids[0]] == pytest.approx(max(bald), abs=1e-9)


def test_a_duplicate_adds_less_than_another_sample() -> None:
    certain = 60.0
    says_a, says_b = np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    logits = certain * np.stack([says_a, says_a, says_b])
    selection = select(logits, 3)
    assert selection.sample_ids.tolist() == [0, 2, 1]
    assert selection.scores is not None
    np.testing.assert_allclose(selection.scores, [np.log(2), np.log(2), 0], atol=1e-9)
    assert selection.receipt.details["informative_picks"] == 2
    assert selection.receipt.details["nats"] == pytest.approx(np.log(4))


def test_when_the_member_is_known_the_rest_goes_by_bald() -> None:
    logits = member_logits(60, 3, 4, scale=6)
    selection = select(logits, 60)
    details = selection.receipt.details
    known = details["informative_picks"]
    assert known < 40
    assert details["then"] == "bald"
    assert details["nats"] <= np.log(3) + 0.05
    bald = np.array([joint_information(logits, [row]) for row in range(60)])
    assert (np.diff(bald[selection.sample_ids[known:]]) <= 1e-9).all()


def test_a_large_batch_is_estimated_and_says_so() -> None:
    logits = member_logits(100, 6, 5)
    selection = select(logits, 20)
    assert "4096 configurations" in selection.receipt.approx
    bald_order = sorted(range(100), key=lambda row: -joint_information(logits, [row]))
    assert selection.sample_ids[0] == bald_order[0]
    few = [joint_information(logits, rows) for rows in (selection.sample_ids[:4].tolist(), bald_order[:4])]
    assert few[0] >= few[1] - 1e-9


def test_a_shortlist_is_what_has_the_largest_bald() -> None:
    logits = member_logits(40, 4, 3)
    selection = select(logits, 12, BatchBald(keep=8))
    best = sorted(range(40), key=lambda row: -joint_information(logits, [row]))
    assert sorted(selection.sample_ids[:8].tolist()) == sorted(best[:8])
    assert selection.sample_ids[8:].tolist() == best[8:12]
    assert "only the 8 candidates" in selection.receipt.approx
    assert "compete" not in select(logits, 12, BatchBald(keep=40)).receipt.approx


@pytest.mark.parametrize("seed", range(3))
def test_many_estimated_gains_add_up_to_no_more_than_there_is_to_tell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(300, 1, 10)) + rng.normal(scale=0.5, size=(300, 8, 10))
    details = select(logits, 50, BatchBald(samples=1000), seed).receipt.details
    assert details["informative_picks"] > 30
    assert details["nats"] <= np.log(8) + 0.03


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_extreme_logits_and_members_that_agree(dtype: type) -> None:
    rng = np.random.default_rng(0)
    extreme = rng.choice([-1e4, 0, 1e4], size=(20, 4, 3)).astype(dtype)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        assert len(set(select(extreme, 20).sample_ids.tolist())) == 20
        agree = np.repeat(extreme[:, :1], 4, axis=1)
        assert select(agree, 20).sample_ids.tolist() == list(range(20))


def test_member_order_and_repeated_members_change_nothing() -> None:
    logits = member_logits(12, 4, 2)
    expected = select(logits, 5).sample_ids.tolist()
    assert select(logits[:, ::-1], 5).sample_ids.tolist() == expected
    assert select(np.repeat(logits, 3, axis=1), 5).sample_ids.tolist() == expected


def test_one_member_is_refused_and_parameters_are_checked() -> None:
    with pytest.raises(UsageError, match="at least 2 members"):
        select(member_logits(5, 1, 3), 2)
    with pytest.raises(UsageError, match="at least 2 members"):
        select(member_logits(5, 2, 3)[:, :, 0], 2)
    for spec in ("batch-bald:samples=0", "batch-bald:keep=-1"):
        with pytest.raises(UsageError, match="got"):
            parse(spec)
