"""Strategies that rank by a column that a pass made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

import foresift
from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.strategies import parse


def predictions(columns: Mapping[str, npt.ArrayLike]) -> Predictions:
    arrays = {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}
    n = len(next(iter(arrays.values())))
    ids = np.array([f"s{number}" for number in range(n)])
    return Predictions(sample_ids=ids, columns={name: Column(values=values) for name, values in arrays.items()})


def test_the_smallest_flip_distance_comes_first() -> None:
    selection = foresift.select(predictions({"flip-distance": [3, 1, 2, 1]}), "deep-fool", budget=3)
    assert selection.sample_ids.tolist() == ["s1", "s3", "s2"]
    assert selection.scores is not None
    assert selection.scores.tolist() == [-1, -1, -2]


def test_a_pool_without_the_column_says_how_to_get_it() -> None:
    with pytest.raises(MissingColumnError, match=r"flip-distance.*select POOL --model"):
        foresift.select(predictions({"logits": np.eye(3)}), "deep-fool", budget=1)


@pytest.mark.parametrize("spelling", ["deep-fool:steps=0", "deep-fool:competitors=0", "deep-fool:overshoot=0"])
def test_parameters_out_of_range_are_refused(spelling: str) -> None:
    with pytest.raises(UsageError, match="must be"):
        parse(spelling)
