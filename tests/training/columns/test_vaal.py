"""VAAL on images whose labeled part looks different."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import foresift
from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.predictions import Predictions
from foresift.training.columns import FitInputs
from foresift.training.columns.vaal import UnlabeledProbability

SMALL = {"batch": 8, "latent": 4, "side": 8}


def inputs(n: int = 48) -> tuple[FitInputs, np.ndarray]:
    """Dark images are labeled; of the others half are dark too, and half bright."""
    rng = np.random.default_rng(0)
    dark = np.arange(n) % 4 != 0
    labeled = dark & (np.arange(n) % 4 == 1)
    pixels = rng.integers(0, 60, size=(n, 8, 8, 3)).astype(np.uint8)
    pixels[~dark] += 180
    return FitInputs(labeled=labeled, load=lambda _side: pixels), dark


def test_what_looks_unlike_the_labeled_images_is_most_probably_unlabeled() -> None:
    seen, dark = inputs()
    found = UnlabeledProbability(steps=80, **SMALL).fit(seen)
    assert found.shape == (48,)
    assert ((found >= 0) & (found <= 1)).all()
    assert found[~dark].mean() > found[dark].mean() + 0.05


def test_one_seed_gives_one_outcome_and_leaves_the_caller_s_alone() -> None:
    state = torch.get_rng_state()
    first, second = (UnlabeledProbability(steps=3, **SMALL).fit(inputs()[0]) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(first, second)
    assert not np.array_equal(first, UnlabeledProbability(steps=3, fit_seed=1, **SMALL).fit(inputs()[0]))


def test_without_images_it_says_where_they_come_from() -> None:
    pool = Predictions.from_arrays(range(6), embeddings=np.eye(6, dtype=np.float32))
    with pytest.raises(MissingColumnError, match="images themselves: select POOL"):
        foresift.select(pool, "vaal", budget=2, labeled=[0, 1])


@pytest.mark.parametrize("bad", [{"side": 12}, {"side": 0}, {"steps": 0}, {"beta": -1.0}])
def test_parameters_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        UnlabeledProbability(**bad)  # type: ignore[arg-type]
