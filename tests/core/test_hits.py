"""Receipts: none is made that could not be read."""

from __future__ import annotations

import json

import pytest

from foresift.core.errors import DataError
from foresift.core.hits import Hit, fitting_suffix
from receipts import hit


def test_a_receipt_comes_back_from_json() -> None:
    made = hit(suffix="", uri="/cam/schön.png")
    assert Hit.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"number": 13}, "number 13 of a day with a quota of 12"),
        ({"number": 0}, "number 0 of a day"),
        ({"suffix": ".55-cam1"}, "suffix is '.55-cam1'"),
        ({"suffix": ".json"}, "suffix is '.json'"),  # its receipt would be written over the frame
        ({"device": "../cam"}, "device is '../cam'"),
        ({"digest": "abc"}, "digest is 'abc'"),
        ({"uri": "/cam/\udce4.png"}, "uri is '/cam/\\udce4.png'"),
        ({"score": float("nan")}, "score of nan"),
        ({"size_bytes": 0}, "0 bytes"),
    ],
)
def test_a_receipt_that_could_not_be_read_is_not_made(value: dict[str, object], says: str) -> None:
    with pytest.raises(DataError) as caught:
        hit(**value)
    assert says in str(caught.value)


@pytest.mark.parametrize(("suffix", "kept"), [(".jpg", ".jpg"), ("", ""), (".55-cam1", ""), (".json", "")])
def test_a_suffix_that_a_receipt_cannot_hold_is_left_out(suffix: str, kept: str) -> None:
    assert fitting_suffix(suffix) == kept
    assert hit(suffix=fitting_suffix(suffix)).suffix == kept
