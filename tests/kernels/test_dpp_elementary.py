"""Elementary symmetric polynomials against fractions; drawn eigenvectors against every subset."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpp_brute import assert_law, draw
from foresift.core.errors import UsageError
from foresift.kernels.dpp_elementary import inclusion_probabilities, log_elementary, select_eigenvectors


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_elementary_polynomials_equal_exact_fractions(numerators: list[int]) -> None:
    values = [Fraction(numerator, 1000) for numerator in numerators]
    table = log_elementary(np.log([float(value) for value in values]), len(values))
    for m in range(len(values) + 1):
        for order in range(len(values) + 1):
            exact = sum((prod(s, start=Fraction(1)) for s in combinations(values[:m], order)), Fraction(0))
            assert np.exp(table[m, order]) == pytest.approx(float(exact), rel=1e-9)


def test_polynomials_beyond_the_range_of_floats_stay_finite() -> None:
    rng = np.random.default_rng(0)
    for scale in (1e-8, 1e8):
        table = log_elementary(np.log(scale * rng.uniform(1, 2, 600)), 300)
        assert np.isfinite(table[300:, :].max())
        assert np.isfinite(table[600]).all()


def test_equal_values_give_binomials() -> None:
    table = log_elementary(np.zeros(8), 8)
    np.testing.assert_allclose(np.exp(table[8]), [1, 8, 28, 56, 70, 56, 28, 8, 1], rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7, 8])
def test_eigenvectors_are_drawn_by_the_product_of_their_eigenvalues(k: int) -> None:
    values = np.array([0.01, 0.2, 0.5, 1.0, 1.5, 3.0, 8.0, 20.0])
    weights = {s: prod(values[list(s)]) for s in combinations(range(8), k)}
    law = {s: w / sum(weights.values()) for s, w in weights.items()}
    assert_law(draw(lambda rng: select_eigenvectors(np.log(values), k, rng), 4000, seed=k), law)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.data())
def test_inclusion_probabilities_equal_those_of_all_subsets(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values)))
    weights = {s: prod(values[i] for i in s) for s in combinations(range(len(values)), k)}
    expected = [sum(w for s, w in weights.items() if i in s) / sum(weights.values()) for i in range(len(values))]
    got = inclusion_probabilities(np.log(values), k)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert got.sum() == pytest.approx(k)


def test_scaling_the_spectrum_changes_no_draw() -> None:
    values = np.log(np.random.default_rng(1).uniform(0.1, 5, 40))
    one = select_eigenvectors(values, 12, np.random.default_rng(2))
    two = select_eigenvectors(values + 300, 12, np.random.default_rng(2))
    np.testing.assert_array_equal(one, two)


def test_more_than_the_rank_is_refused_with_both_numbers() -> None:
    assert len(select_eigenvectors(np.zeros(5), 5, np.random.default_rng(0))) == 5
    with pytest.raises(UsageError, match=r"rank 5 holds no set of 6.*more features"):
        select_eigenvectors(np.zeros(5), 6, np.random.default_rng(0))
