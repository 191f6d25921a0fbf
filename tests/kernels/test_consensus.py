"""Agreement of members, against counting over all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.kernels.consensus import Consensus


@given(st.integers(1, 6), st.integers(0, 30), st.integers(1, 4), st.integers(0, 99))
def test_counts_are_those_of_all_members_at_once(members: int, n: int, classes: int, seed: int) -> None:
    answers = np.random.default_rng(seed).integers(classes, size=(members, n))
    told = Consensus(n)
    for one in answers:
        told.add(one)
    joint = [sum(len(set(column[:m])) == 1 for column in answers.T.tolist()) for m in range(1, members + 1)]
    pairs = [sum(a == b for a, b in zip(answers[m - 1], answers[m], strict=True)) for m in range(1, members)]
    assert told.joint == tuple(joint)
    assert told.pairs == tuple(pairs)
    assert told.agreed.sum() == joint[-1]
    assert joint == sorted(joint, reverse=True)
    assert all(pair >= together for pair, together in zip(pairs, joint[1:], strict=True))


def test_answers_may_be_written_over_afterwards() -> None:
    answers, told = np.zeros(3, dtype=np.int64), Consensus(3)
    told.add(answers)
    answers[:] = 1
    told.add(answers)
    assert told.joint == (3, 0)


def test_another_number_of_answers_is_refused() -> None:
    with pytest.raises(UsageError, match="all 3 samples"):
        Consensus(3).add(np.zeros(2, dtype=np.int64))
