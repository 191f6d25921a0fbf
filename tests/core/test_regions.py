"""Regions and the ids that name them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.regions import Region, region_id, regions_of, split_id
from foresift.core.samples import Pool

NUMBERS = st.integers(0, 10_000)


@given(st.text(), st.builds(Region, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_an_id_gives_back_its_image_and_its_region(sample: str, region: Region) -> None:
    assert split_id(region_id(sample, region)) == (sample, region)


def test_ids_of_whole_images_have_no_region() -> None:
    for sample in ("a", "a#1,2,3", "a#1,2,3,x", "#", "a #1,2,3,4 b", 7):
        assert split_id(sample) == (str(sample), None)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_the_squares_of_an_image_cover_it_once(height: int, width: int, side: int) -> None:
    seen = np.zeros((height, width), dtype=int)
    for region in regions_of(height, width, side):
        left, top, right, lower = region.box
        assert right <= width
        assert lower <= height
        seen[top:lower, left:right] += 1
    assert (seen == 1).all()


def test_a_sample_that_is_a_region_says_so() -> None:
    pool = Pool.from_columns("p", ["a#0,16,32,48", "b"], uris=["a.png", "b.png"])
    assert [sample.region for sample in pool] == [Region(0, 16, 32, 48), None]
