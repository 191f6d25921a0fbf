"""The graph network against a dense adjacency matrix, and what it learns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

import foresift
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.training.columns import FitInputs
from foresift.training.columns.gcn import GcnEmbeddings, Graph


def embeddings(n: int = 30, d: int = 6, *, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def dense(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """A = D^-1 (S - I) + I, written out; rows of zeros have no neighbours."""
    clipped = np.maximum(rows.astype(np.float64), 0)
    norms = np.linalg.norm(clipped, axis=1, keepdims=True)
    unit = np.divide(clipped, norms, out=np.zeros_like(clipped), where=norms > 0)
    among = unit @ unit.T
    np.fill_diagonal(among, 0)
    sums = among.sum(axis=1, keepdims=True)
    return np.divide(among, sums, out=np.zeros_like(among), where=sums > 1e-6) + np.eye(len(rows))


def test_spreading_is_the_product_with_the_adjacency_that_is_never_formed() -> None:
    rows, values = embeddings(), embeddings(30, 4, seed=1)
    rows[3], rows[4], rows[5] = 0, -1, rows[6]
    spread = Graph(torch.from_numpy(rows)).spread(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(spread, dense(rows) @ values, atol=1e-5)


@pytest.mark.parametrize("rows", [np.zeros((5, 3)), np.ones((5, 3)), np.eye(5), np.ones((2, 1)), -np.ones((4, 2))])
def test_degenerate_embeddings_give_finite_features(rows: npt.NDArray[np.float64]) -> None:
    labeled = np.arange(len(rows)) == 1
    features = GcnEmbeddings(hidden=4, epochs=3).fit(FitInputs(labeled=labeled, columns={"embeddings": rows}))
    assert features.shape == (len(rows), 4)
    assert np.isfinite(features).all()


def test_labeled_and_unlabeled_samples_move_apart() -> None:
    rows = np.abs(embeddings(60))
    labeled = np.arange(60) < 15
    rows[labeled, 0] += 2

    def apart(features: npt.NDArray[np.float32]) -> float:
        between = np.linalg.norm(features[labeled].mean(0) - features[~labeled].mean(0))
        return float(between / (features.std(0).mean() + 1e-9))

    inputs = FitInputs(labeled=labeled, columns={"embeddings": rows})
    assert apart(GcnEmbeddings(epochs=300).fit(inputs)) > 1.1 * apart(GcnEmbeddings(epochs=1).fit(inputs))


def test_one_seed_gives_one_outcome_and_leaves_the_caller_s_alone() -> None:
    inputs = FitInputs(labeled=np.arange(30) < 5, columns={"embeddings": embeddings()})
    state = torch.get_rng_state()
    first, second = (GcnEmbeddings(epochs=5, fit_seed=3).fit(inputs) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(first, second)
    assert not np.array_equal(first, GcnEmbeddings(epochs=5, fit_seed=4).fit(inputs))


@pytest.mark.parametrize(("labeled", "why"), [(np.zeros(4, bool), "none is labeled"), (np.ones(4, bool), "unlabeled")])
def test_both_parts_are_needed(labeled: npt.NDArray[np.bool_], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        GcnEmbeddings().fit(FitInputs(labeled=labeled, columns={"embeddings": embeddings(4)}))


def test_from_python_the_column_is_made_of_embeddings_and_labeled_ids() -> None:
    rows = embeddings(24)
    ids = [f"s{number:02d}" for number in range(24)]
    labeled = ids[::4]
    pool = Predictions.from_arrays(ids, embeddings=rows)
    chosen = foresift.select(pool, "core-gcn:epochs=5,hidden=8", budget=6, labeled=iter(labeled))
    assert not set(chosen.sample_ids.tolist()) & set(labeled)
    stage = chosen.receipt.producers["gcn-embeddings"].stage
    assert stage == "fitted gcn-embeddings:hidden=8,epochs=5,fit_seed=0"
    order = np.random.default_rng(0).permutation(24)
    shuffled = Predictions.from_arrays([ids[row] for row in order], embeddings=rows[order])
    again = foresift.select(shuffled, "core-gcn:epochs=5,hidden=8", budget=6, labeled=labeled)
    assert again.sample_ids.tolist() == chosen.sample_ids.tolist()


def test_from_python_labeled_ids_are_asked_for() -> None:
    with pytest.raises(UsageError, match="none is labeled"):
        foresift.select(Predictions.from_arrays(range(5), embeddings=embeddings(5)), "core-gcn", budget=2)
