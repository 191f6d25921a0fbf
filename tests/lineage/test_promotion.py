"""Two models on the same samples: the paired difference, its interval, McNemar's exact test."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import DataError
from foresift.lineage.promotion import Duel, duel


def fought(both: int, won: int, lost: int, neither: int) -> Duel:
    ours = [True] * both + [True] * won + [False] * lost + [False] * neither
    theirs = [True] * both + [False] * won + [True] * lost + [False] * neither
    return duel(np.array(ours), np.array(theirs))


def slow_p(won: int, lost: int) -> float:
    """Twice the smaller tail of a fair coin, by counting."""
    m, least = won + lost, min(won, lost)
    return min(1.0, 2 * sum(comb(m, k) for k in range(least + 1)) / 2**m)


counts = st.integers(0, 25)


@given(counts, counts, counts, counts)
def test_the_interval_leaves_0_out_exactly_where_the_exact_test_rejects(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    found = fought(a, b, c, d)
    assert found.p == pytest.approx(slow_p(b, c) if b + c else 1.0)
    assert found.difference == pytest.approx(found.challenger - found.holder)
    assert found.low <= found.difference + 1e-12 <= found.high + 2e-12
    assert -1 <= found.low <= found.high <= 1
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
    assert found.beats == (found.low > 0)
    turned = fought(a, c, b, d)
    assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_five_wins_are_not_enough_and_six_are() -> None:
    assert not fought(100, 5, 0, 0).beats
    assert fought(100, 6, 0, 0).beats


def test_there_must_be_something_to_compare() -> None:
    with pytest.raises(DataError, match="the same samples"):
        duel(np.array([True]), np.array([True, False]))
    with pytest.raises(DataError, match="the same samples"):
        duel(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))
