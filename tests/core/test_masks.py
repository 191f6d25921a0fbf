import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foresift.core.errors import LabelError, UsageError
from foresift.core.masks import IGNORED, MAX_CLASSES, MaskClasses, resized, within
from foresift.core.regions import Region

ROADS = MaskClasses(classes=("road", "car"), values=(7, 300), ignored=(0, 255))
CODES = arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3))


def test_each_value_becomes_the_code_of_its_class() -> None:
    values = np.array([[7, 300, 0], [255, 7, 7]], dtype=np.uint16)
    assert ROADS.codes(values).tolist() == [[0, 1, IGNORED], [IGNORED, 0, 0]]


@pytest.mark.parametrize("value", [8, -1, 65_536, 65_535 + 8])
def test_an_unknown_value_is_named(value: int) -> None:
    with pytest.raises(LabelError, match=f"unknown value {value}$"):
        ROADS.codes(np.array([[7, value]], dtype=np.int64))


def test_a_mask_of_ignored_pixels_only_is_refused() -> None:
    with pytest.raises(LabelError, match="every pixel of the mask is ignored"):
        ROADS.codes(np.array([[0, 255]]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": ("a",), "values": (0,)}, "2 .. 4096 classes"),
        ({"values": (7, 7)}, "value 7 stands for two"),
        ({"ignored": (7,)}, "value 7 stands for"),
        ({"values": (7, 70_000)}, "within 0 .. 65535"),
        ({"ignored": (-1,)}, "within 0 .. 65535"),
        ({"values": (7,)}, "2 classes but 1 mask values"),
    ],
)
def test_contradictions_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        MaskClasses(**{"classes": ("a", "b"), "values": (7, 8), "ignored": ()} | change)  # type: ignore[arg-type]


def test_numbered_classes_leave_ignored_values_out_of_the_row() -> None:
    classes = MaskClasses.numbered(["a", "b", "c"], ignored=(1, 255))
    assert (classes.values, classes.ignored) == ((0, 2, 3), (1, 255))


def test_present_classes_are_those_that_occur() -> None:
    assert MaskClasses.present({5, 0, 11}, ignored=(11,)).classes == ("0", "5")
    with pytest.raises(LabelError, match="only the value 5"):
        MaskClasses.present({5, 11}, ignored=(11,))
    with pytest.raises(LabelError, match="different values"):
        MaskClasses.present(range(MAX_CLASSES + 1))


def test_only_labeled_regions_count() -> None:
    mask = np.arange(12, dtype=np.int16).reshape(3, 4)
    partial = within(mask, [Region(1, 0, 2, 1), Region(0, 2, 1, 1)])
    assert partial.tolist() == [[-1, 1, 2, -1], [-1, -1, -1, -1], [8, -1, -1, -1]]


@pytest.mark.parametrize("region", [Region(0, 0, 5, 1), Region(-1, 0, 1, 1), Region(0, 0, 0, 1), Region(0, 2, 1, 2)])
def test_a_region_outside_the_mask_is_refused(region: Region) -> None:
    with pytest.raises(LabelError, match="does not lie inside an image of 4 x 3"):
        within(np.zeros((3, 4), dtype=np.int16), [region])


def test_regions_of_ignored_pixels_are_refused() -> None:
    with pytest.raises(LabelError, match="no pixel inside the labeled regions counts"):
        within(np.full((3, 4), IGNORED, dtype=np.int16), [Region(0, 0, 2, 2)])


@given(mask=CODES, height=st.integers(1, 12), width=st.integers(1, 12))
def test_resizing_takes_the_pixel_under_the_centre_of_the_new_one(mask: np.ndarray, height: int, width: int) -> None:
    found = resized(mask, height, width)
    for row, column in np.ndindex(height, width):
        y, x = Fraction(2 * row + 1, 2 * height) * mask.shape[0], Fraction(2 * column + 1, 2 * width) * mask.shape[1]
        assert found[row, column] == mask[math.floor(y), math.floor(x)]
