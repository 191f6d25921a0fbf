"""Masks drawn with Label Studio's brush and polygons, against an encoder written here."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foresift.core.errors import DataError
from foresift.oracles.label_studio_masks import UNLABELED, drawn_mask, unpacked

SIZES = (3, 4, 8, 16)


def packed(values: list[int]) -> bytes:
    """The code of the values, runs as long as possible; what is left of the last byte is 0."""
    bits = f"{len(values):032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in SIZES)
    bits += "".join(_pieces(values))
    return int(bits + "0" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8))


def _pieces(values: list[int]) -> Iterator[str]:
    at = 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at] and end - at < 1 << SIZES[-1]:
            end += 1
        if end - at > 1:
            yield "1" + _length(end - at) + f"{values[at]:08b}"
        else:
            yield "0" + _length(1) + f"{values[at]:08b}"
        at = end


def _length(count: int) -> str:
    index = next(i for i, size in enumerate(SIZES) if count - 1 < 1 << size)
    return f"{index:02b}{count - 1:0{SIZES[index]}b}"


@given(st.lists(st.sampled_from([0, 1, 255]), max_size=300))
def test_what_is_packed_is_unpacked(values: list[int]) -> None:
    assert unpacked(packed(values), len(values)).tolist() == values
    with pytest.raises(ValueError, match="expected"):
        unpacked(packed(values), len(values) + 1)


@given(st.binary(max_size=40))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    head = (100).to_bytes(4) + data
    with contextlib.suppress(ValueError):
        assert len(unpacked(head, 100)) == 100


def brush(area: npt.NDArray[np.bool_], name: str) -> dict[str, object]:
    height, width = area.shape
    rgba = np.repeat(area.reshape(-1, 1) * 255, 4, axis=1).reshape(-1)
    value = {"format": "rle", "rle": list(packed(rgba.tolist())), "brushlabels": [name]}
    return {"type": "brushlabels", "original_width": width, "original_height": height, "value": value}


def read(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_later_drawings_lie_on_top_and_the_rest_is_unlabeled() -> None:
    first, second = np.zeros((5, 7), dtype=bool), np.zeros((5, 7), dtype=bool)
    first[:3], second[2:4, :2] = True, True
    mask = read(drawn_mask([brush(first, "road"), {"type": "choices", "value": {}}, brush(second, "tree")], CLASSES))
    expected = np.full((5, 7), UNLABELED)
    expected[first] = 0
    expected[second] = 1
    assert mask.tolist() == expected.tolist()


CLASSES = ("road", "tree")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ([], "nothing was drawn"),
        ([brush(np.ones((2, 2), dtype=bool), "sky")], "'sky' is no class"),
        ([{**brush(np.ones((2, 2), dtype=bool), "road"), "original_width": 3}], "can't be understood"),
        ([{"original_width": 2, "original_height": 2, "value": {"polygonlabels": ["road"]}}], "can't be understood"),
        ([{"value": {"rle": [1], "brushlabels": ["road"]}}], "can't be understood"),
    ],
)
def test_drawings_that_make_no_sense_are_refused(result: list[dict[str, object]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        drawn_mask(result, CLASSES)
