"""The up-down chain: its stationary law against every subset, its bookkeeping against fresh inverses."""

from __future__ import annotations

import numpy as np
import pytest

from dpp_brute import Array, assert_law, draw, law
from foresift.core.arrays import Rows
from foresift.core.errors import NonFiniteError
from foresift.kernels import dpp_chain
from foresift.kernels.dpp_chain import up_down_chain
from foresift.kernels.dpp_map import ReadEntries


def entries_of(kernel: Array) -> ReadEntries:
    def entries(which: Rows, others: Rows) -> Array:
        return np.asarray(kernel[np.ix_(which, others)])

    return entries


def kernel_of(n: int, d: int, seed: int = 0) -> Array:
    points = np.random.default_rng(seed).normal(size=(n, d))
    return np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2) / 2)


@pytest.mark.parametrize("k", [1, 4])
def test_ends_by_the_law_of_the_k_dpp(k: int) -> None:
    kernel, start = kernel_of(8, 2), np.arange(k)
    counts = draw(lambda rng: up_down_chain(entries_of(kernel), start, n=8, steps=40, rng=rng).rows, 700, seed=k)
    assert_law(counts, law(kernel, k))


def test_the_law_is_left_unchanged_by_a_single_step() -> None:
    kernel = kernel_of(6, 2)
    exact = law(kernel, 3)
    sets, chances = list(exact), list(exact.values())

    def one_step(rng: np.random.Generator) -> Rows:
        start = np.array(sets[rng.choice(len(sets), p=chances)])
        return up_down_chain(entries_of(kernel), start, n=6, steps=1, rng=rng).rows

    assert_law(draw(one_step, 3000, seed=3), exact)


def test_log_det_and_rows_stay_true_over_many_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpp_chain, "REFACTOR_STEPS", 150)
    kernel = kernel_of(80, 3)
    end = up_down_chain(entries_of(kernel), np.arange(20), n=80, steps=2000, rng=np.random.default_rng(0))
    assert len(set(end.rows.tolist())) == 20
    assert 0 < end.acceptance <= 1
    assert len(end.log_det) == 101
    fresh = np.linalg.slogdet(kernel[np.ix_(end.rows, end.rows)])[1]
    assert end.log_det[-1] == pytest.approx(fresh, abs=1e-6)


def test_copies_never_come_together_and_a_singular_start_is_refused() -> None:
    kernel = np.kron(kernel_of(5, 2), np.ones((2, 2)))
    end = up_down_chain(entries_of(kernel), np.arange(0, 10, 2), n=10, steps=300, rng=np.random.default_rng(0))
    assert sorted(end.rows // 2) == [0, 1, 2, 3, 4]
    with pytest.raises(NonFiniteError, match="singular"):
        up_down_chain(entries_of(kernel), np.array([0, 1]), n=10, steps=1, rng=np.random.default_rng(0))


def test_no_steps_give_the_start() -> None:
    end = up_down_chain(entries_of(np.eye(6)), np.array([4, 1]), n=6, steps=0, rng=np.random.default_rng(0))
    assert end.rows.tolist() == [4, 1]
    assert end.acceptance == 0
