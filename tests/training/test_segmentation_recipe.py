import json
from typing import Any

import pytest

from foresift.core.errors import UsageError
from foresift.training.segmentation_recipe import SegmentationRecipe


def test_it_comes_back_from_json() -> None:
    recipe = SegmentationRecipe(crop=(64, 96), schedule="cosine", lr=0.3)
    assert SegmentationRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 1.5},
        {"optimizer": "adam"},
        {"schedule": "onecycle"},
        {"class_weights": "median"},
        {"precision": "16"},
        {"lr": 0},
        {"lr": float("nan")},
        {"momentum": 1},
        {"weight_decay": -1},
        {"poly_power": 0},
        {"crop": (0, 4)},
        {"crop": (4,)},
        {"size": 3},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        SegmentationRecipe.from_dict(values)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("poly", [1.0, 0.75**0.9, 0.5**0.9, 0.25**0.9]),
        ("multistep", [1.0, 1.0, 0.1, 0.01]),
        ("cosine", [1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5]),
        ("constant", [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules(schedule: str, expected: list[float]) -> None:
    recipe = SegmentationRecipe(schedule=schedule)
    assert [recipe.lr_share(step, 4) for step in range(4)] == pytest.approx(expected)


def test_a_number_that_yaml_reads_as_text_is_the_number() -> None:
    assert SegmentationRecipe.from_dict({"lr": "1e-3", "weight_decay": "1e-4"}) == SegmentationRecipe(lr=1e-3)
