from typing import Any

import pytest

from foresift.core.errors import ModelError
from foresift.core.generations import Generation
from foresift.core.segmentation import DenseTransform, SegmentationGeneration


def record(**changes: Any) -> SegmentationGeneration:
    values: dict[str, Any] = {
        "architecture": "unet:resnet18",
        "classes": ("a", "b"),
        "values": (0, 5),
        "ignored": (255,),
        "transform": DenseTransform(size=(180, 240)),
        "weights": "0" * 40,
        "embedding_width": 512,
    }
    return SegmentationGeneration(**values | changes)


def as_json(generation: SegmentationGeneration) -> dict[str, Any]:
    import json

    plain: dict[str, Any] = json.loads(json.dumps(generation.to_dict()))
    return plain


def test_a_record_comes_back_from_json() -> None:
    for one in (record(), record(transform=DenseTransform(scale=0.5))):
        again = SegmentationGeneration.from_dict(as_json(one))
        assert again == one
        assert again.id == one.id


def test_a_record_says_its_task_and_a_classifiers_reader_refuses_it() -> None:
    plain = as_json(record())
    assert plain["task"] == "segmentation"
    with pytest.raises(ModelError, match="a segmentation model, expected a classifier"):
        Generation.from_dict(plain)


@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"format": 7},
        {"values": [0]},
        {"values": [0, 0]},
        {"values": 3},
        {"transform": {"size": [1]}},
        {"transform": 3},
        {"transform": {"side": 3}},
    ],
)
def test_a_broken_record_is_refused_in_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as told:
        SegmentationGeneration.from_dict(as_json(record()) | change)
    assert "\n" not in str(told.value)
    with pytest.raises(ModelError):
        SegmentationGeneration.from_dict({})


def test_a_transform_stretches_or_scales() -> None:
    assert DenseTransform(size=(180, 240)).target(1, 7) == (180, 240)
    assert DenseTransform(scale=0.5).target(5, 360) == (2, 180)
    assert DenseTransform(scale=0.01).target(5, 5) == (1, 1)
    assert DenseTransform().target(5, 7) == (5, 7)


@pytest.mark.parametrize(
    "values",
    [
        {"size": (0, 4)},
        {"size": (4, 20_000)},
        {"scale": 0},
        {"scale": float("nan")},
        {"interpolation": "nearest"},
        {"std": (1, 1, 0)},
    ],
)
def test_a_senseless_transform_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        DenseTransform(**values)
