from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foresift.core.errors import DataError
from foresift.sources.coco_shapes import polygon_grid, shape_grid

Corner = tuple[float, float]


def even_odd(points: list[float], height: int, width: int) -> np.ndarray:
    """Even-odd rule by its definition, in exact numbers: count the edges that a ray to the left of each pixel centre
    crosses."""
    grid = np.zeros((height, width), dtype=bool)
    exact = [Fraction(place) for place in points]
    corners = list(zip(exact[::2], exact[1::2], strict=True))
    for row, column in np.ndindex(height, width):
        x, y = column + Fraction(1, 2), row + Fraction(1, 2)
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y1 <= y) != (y2 <= y):
                crossing = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
                assume(abs(crossing - x) > Fraction(1, 10**9))
                grid[row, column] ^= crossing < x
    return grid


# Tenths with an offset: no corner lies exactly on a pixel's centre.
PLACES = st.integers(-30, 130).map(lambda tenth: tenth / 10 + 0.0371)
CORNERS = st.tuples(PLACES, PLACES)


@given(points=st.lists(PLACES, min_size=6, max_size=16).filter(lambda xs: len(xs) % 2 == 0))
def test_a_polygon_holds_the_pixels_whose_centres_lie_inside(points: list[float]) -> None:
    np.testing.assert_array_equal(polygon_grid(points, 9, 11), even_odd(points, 9, 11))


def test_a_polygon_without_an_inside_holds_no_pixel_even_through_their_centres() -> None:
    assert not polygon_grid([3.7, -2.7, 12.1, 6.9, 12.1, 6.9], 9, 11).any()


@given(start=CORNERS, end=CORNERS, one=CORNERS, other=CORNERS)
@example(start=(3.7, -2.7), end=(12.1, 6.9), one=(0.0371, 5.5371), other=(9.0371, 0.0371))
def test_the_two_sides_of_a_cut_make_the_whole_up(start: Corner, end: Corner, one: Corner, other: Corner) -> None:
    whole = polygon_grid([*start, *one, *end, *other], 9, 11)
    sides = polygon_grid([*start, *one, *end], 9, 11) ^ polygon_grid([*end, *other, *start], 9, 11)
    np.testing.assert_array_equal(sides, whole)


def test_neighbours_that_share_an_edge_share_no_pixel() -> None:
    left = polygon_grid([0, 0, 3.5, 0, 2.5, 6, 0, 6], 6, 6)
    right = polygon_grid([3.5, 0, 6, 0, 6, 6, 2.5, 6], 6, 6)
    assert (left ^ right).all()


def packed(runs: list[int]) -> str:
    """COCO's compressed text, written from its description."""
    text = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        while True:
            group, value = value & 31, value >> 5
            more = not ((value == 0 and not group & 16) or (value == -1 and group & 16))
            text.append(chr((group | 32 if more else group) + 48))
            if not more:
                break
    return "".join(text)


def runs_of(grid: np.ndarray) -> list[int]:
    """Lengths down the columns, beginning with pixels outside."""
    flat = grid.T.ravel()
    runs, value, length = [], False, 0
    for pixel in flat:
        if bool(pixel) != value:
            runs.append(length)
            value, length = bool(pixel), 0
        length += 1
    return [*runs, length]


@given(grid=arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_run_lengths_come_back_plain_and_compressed(grid: np.ndarray) -> None:
    height, width = grid.shape
    runs = runs_of(grid)
    for counts in (runs, packed(runs)):
        found = shape_grid({"size": [height, width], "counts": counts}, height, width)
        np.testing.assert_array_equal(found, grid)


def test_a_text_that_coco_s_own_tools_write() -> None:
    runs = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    grid = shape_grid({"size": [9, 10], "counts": "61X13mN000`0"}, 9, 10)
    assert runs_of(grid) == runs


@pytest.mark.parametrize(
    "shape",
    [
        None,
        "text",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, "x", 4, 5, 6]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[0, 0, 1e300, 0, 0, 5]],
        [3],
        {"counts": [24]},
        {"size": [6, 4], "counts": [24]},
        {"size": [4, 6], "counts": [25]},
        {"size": [4, 6], "counts": [30, -6]},
        {"size": [4, 6], "counts": [24.0]},
        {"size": [4, 6], "counts": None},
        {"size": [4, 6], "counts": "é"},
        {"size": [4, 6], "counts": "o"},
        {"size": [4, 6], "counts": "o" * 1000},
    ],
)
def test_senseless_shapes_are_refused_in_one_line(shape: object) -> None:
    with pytest.raises(DataError) as told:
        shape_grid(shape, 4, 6)
    assert "\n" not in str(told.value)
