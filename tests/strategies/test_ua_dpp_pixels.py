"""Uncertainty-aware k-DPPs over pixels: the weights are those of ua-dpp with the same uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Column, Predictions
from foresift.kernels.patch_grid import cells_of, mean
from foresift.kernels.patch_rows import pack
from foresift.scores.uncertainty import entropy
from foresift.strategies import parse

N, CLASSES = 24, 4


@pytest.fixture
def predictions() -> Predictions:
    """Images whose pixels all have the entropy of the image's own logits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(N, CLASSES)).astype(np.float32)
    maps = [np.full((32, 32), value) for value in entropy(logits)]
    columns = {
        "logits": logits,
        "embeddings": rng.normal(size=(N, 6)).astype(np.float32),
        "patch-grid": pack([cells_of(one) for one in maps]),
    }
    return Predictions(
        sample_ids=np.arange(N), columns={name: Column(values=values) for name, values in columns.items()}
    )


@pytest.mark.parametrize("form", ["quality", "distance", "paper"])
@pytest.mark.parametrize("labeled", [(), (3, 7)])
def test_it_draws_what_ua_dpp_draws(form: str, labeled: tuple[int, ...], predictions: Predictions) -> None:
    k = 5
    for by in ("mean", "max", "top-patches"):
        ours = parse(f"ua-dpp-pixels:form={form},by={by},patch=16,top=2,classes={CLASSES}")
        theirs = parse(f"ua-dpp:form={form}")
        for strategy in (ours, theirs):
            assert len(strategy.select(predictions, budget=k, labeled=labeled, seed=1)) == k
        query = ours.query(predictions, budget=k, labeled=labeled)
        np.testing.assert_allclose(
            ours._uncertainty(query),
            theirs._uncertainty(theirs.query(predictions, budget=k, labeled=labeled)),
            atol=1e-6,
        )
        np.testing.assert_allclose(
            ours._of_labeled(query), theirs._of_labeled(theirs.query(predictions, budget=k, labeled=labeled)), atol=1e-6
        )


def test_without_the_number_of_classes_the_largest_counts_as_1(predictions: Predictions) -> None:
    strategy = parse("ua-dpp-pixels")
    values = strategy._uncertainty(strategy.query(predictions, budget=3))
    assert values.max() == pytest.approx(1)
    means = mean(next(cells for _, cells in _cells(predictions)))
    np.testing.assert_allclose(values, means / means.max())


def _cells(predictions: Predictions):
    from foresift.kernels.patch_rows import unpack

    return unpack(predictions.column("patch-grid"))


def test_bad_parameters_are_refused() -> None:
    for spelled, said in (("score=loss", "score"), ("classes=1", "2 or more"), ("patch=20", "multiple of 16")):
        with pytest.raises(UsageError, match=said):
            parse(f"ua-dpp-pixels:{spelled}")
