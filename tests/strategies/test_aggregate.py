"""The strategy that ranks by an aggregate of pixel scores."""

from __future__ import annotations

import numpy as np
import pytest

import foresift
from foresift.core.errors import MissingColumnError, NonFiniteError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.kernels.patch_grid import cells_of
from foresift.kernels.patch_rows import pack

SIZES = [(40, 70), (64, 64), (16, 16), (100, 33)]


def maps() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.exponential(size=size) for size in SIZES]


def predictions(made: list[np.ndarray]) -> Predictions:
    ids = np.array([f"i{row}" for row in range(len(made))])
    return Predictions(sample_ids=ids, columns={"patch-grid": Column(values=pack([cells_of(one) for one in made]))})


def top_mean(values: np.ndarray, side: int, top: int) -> float:
    means = [
        values[y : y + side, x : x + side].mean()
        for y in range(0, values.shape[0], side)
        for x in range(0, values.shape[1], side)
    ]
    return float(np.mean(sorted(means, reverse=True)[:top]))


@pytest.mark.parametrize(
    ("spelling", "value"),
    [
        ("aggregate", np.mean),
        ("aggregate:by=max", np.max),
        ("aggregate:by=top-patches,patch=32,top=3", lambda values: top_mean(values, 32, 3)),
        ("aggregate:by=top-patches,patch=16,top=1", lambda values: top_mean(values, 16, 1)),
    ],
)
def test_images_come_in_the_order_of_their_aggregates(spelling: str, value: object) -> None:
    made = maps()
    expected = {f"i{row}": value(one) for row, one in enumerate(made)}
    selection = foresift.select(predictions(made), spelling, budget=4)
    assert selection.sample_ids.tolist() == sorted(expected, key=lambda key: -expected[key])
    np.testing.assert_allclose(selection.scores, sorted(expected.values(), reverse=True), rtol=1e-6)


def test_an_image_without_a_valid_pixel_is_named() -> None:
    made = predictions(maps())
    grids = np.array(made.column("patch-grid"))
    grids[2, 2:] = 0
    with pytest.raises(NonFiniteError, match="i2"):
        foresift.select(
            Predictions(sample_ids=made.sample_ids, columns={"patch-grid": Column(values=grids)}), "aggregate", budget=2
        )


@pytest.mark.parametrize("wrong", ["score=loss", "by=median", "patch=20", "top=0"])
def test_parameters_out_of_range_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong.partition("=")[0]):
        foresift.select(predictions(maps()), f"aggregate:{wrong}", budget=1)


def test_without_grids_it_says_how_to_get_them() -> None:
    empty = Predictions(sample_ids=np.array(["a"]))
    with pytest.raises(MissingColumnError, match=r"patch-grid.*segmentation model"):
        foresift.select(empty, "aggregate", budget=1)
