"""Cells and patches against pixel-by-pixel definitions, and the laws of their aggregates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import DataError, UsageError
from foresift.kernels.patch_grid import (
    CELL,
    Cells,
    cells_of,
    cut,
    maximum,
    mean,
    patches_of,
    top_patches,
)
from foresift.kernels.patch_rows import each_row, pack, unpack

SIDES = st.integers(1, 100)
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25, deadline=None)


def maps(seed: int, h: int, w: int, *, share_valid: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((h, w)), rng.random((h, w)) < share_valid


def direct_patches(values: np.ndarray, valid: np.ndarray, p: int) -> list[list[tuple[float, int, int]]]:
    """Mean, valid count and area of every patch, pixel by pixel."""
    h, w = values.shape
    found = []
    for y in range(0, h, p):
        row = []
        for x in range(0, w, p):
            total, count, area = 0.0, 0, 0
            for i in range(y, min(y + p, h)):
                for j in range(x, min(x + p, w)):
                    area += 1
                    if valid[i, j]:
                        total, count = total + float(values[i, j]), count + 1
            row.append((total / count if count else float("nan"), count, area))
        found.append(row)
    return found


def direct_top(values: np.ndarray, valid: np.ndarray, p: int, m: int) -> float:
    kept = [one for row in direct_patches(values, valid, p) for one in row if 4 * one[1] >= one[2]]
    best = sorted((one[0] for one in kept), reverse=True)[:m]
    return sum(best) / len(best) if best else float("nan")


@FEW
@given(h=SIDES, w=SIDES, seed=SEEDS, share=st.sampled_from([1.0, 0.5, 0.2]), p=st.sampled_from([16, 32, 48]))
def test_patches_are_those_of_pixel_by_pixel_sums(h: int, w: int, seed: int, share: float, p: int) -> None:
    values, valid = maps(seed, h, w, share_valid=share)
    patches = patches_of(cells_of(values, valid), p)
    expected = np.array(direct_patches(values, valid, p))
    np.testing.assert_allclose(patches.means[0], expected[..., 0], rtol=1e-12)
    np.testing.assert_array_equal(patches.counts[0], expected[..., 1])
    np.testing.assert_array_equal(patches.areas, expected[..., 2])
    np.testing.assert_array_equal(patches.kept[0], 4 * expected[..., 1] >= expected[..., 2])
    top = top_patches(cells_of(values, valid), patch=p, top=4)[0]
    np.testing.assert_allclose(top, direct_top(values, valid, p, 4), rtol=1e-12)


@FEW
@given(h=SIDES, w=SIDES, seed=SEEDS, share=st.sampled_from([1.0, 0.3]))
def test_mean_and_maximum_are_those_of_the_valid_pixels(h: int, w: int, seed: int, share: float) -> None:
    values, valid = maps(seed, h, w, share_valid=share)
    valid[0, 0] = True
    cells = cells_of(np.where(valid, values, np.nan), valid)
    np.testing.assert_allclose(mean(cells), values[valid].mean(), rtol=1e-12)
    np.testing.assert_array_equal(maximum(cells), values[valid].max())


@FEW
@given(h=SIDES, w=SIDES, c=st.floats(0, 9), seed=SEEDS)
def test_a_constant_map_gives_its_constant_everywhere(h: int, w: int, c: float, seed: int) -> None:
    valid = maps(seed, h, w, share_valid=0.9)[1]
    valid[:] |= not valid.any()
    cells = cells_of(np.full((h, w), c), valid)
    patches = patches_of(cells, 32)
    found = [mean(cells)[0], maximum(cells)[0], *patches.means[patches.kept], *patches.tops[patches.kept]]
    found += top_patches(cells, patch=32, top=3).tolist() if patches.kept.any() else []
    np.testing.assert_allclose(found, c, rtol=1e-12)


@FEW
@given(h=SIDES, w=SIDES, seed=SEEDS, p=st.sampled_from([16, 64]))
def test_patch_means_weighed_by_their_pixels_give_the_image_mean(h: int, w: int, seed: int, p: int) -> None:
    values, valid = maps(seed, h, w, share_valid=0.6)
    valid[0, 0] = True
    cells = cells_of(values, valid)
    patches = patches_of(cells, p)
    weighed = np.nansum(patches.means * patches.counts) / patches.counts.sum()
    np.testing.assert_allclose(weighed, mean(cells)[0], rtol=1e-12)


@FEW
@given(i=st.integers(1, 4), j=st.integers(1, 4), m=st.integers(1, 9), seed=SEEDS)
def test_the_largest_full_patches_are_no_smaller_than_the_mean(i: int, j: int, m: int, seed: int) -> None:
    cells = cells_of(maps(seed, 32 * i, 32 * j)[0])
    assert top_patches(cells, patch=32, top=m)[0] >= mean(cells)[0] - 1e-12


@FEW
@given(down=st.integers(0, 2), right=st.integers(0, 2), seed=SEEDS)
def test_a_blob_moved_by_whole_patches_leaves_the_largest_as_they_are(down: int, right: int, seed: int) -> None:
    blob = maps(seed, 20, 30)[0]
    first, second = np.zeros((128, 160)), np.zeros((128, 160))
    first[5:25, 7:37] = blob
    second[5 + 32 * down : 25 + 32 * down, 7 + 32 * right : 37 + 32 * right] = blob
    assert top_patches(cells_of(first), patch=32) == pytest.approx(top_patches(cells_of(second), patch=32)[0])


def test_patches_with_too_few_valid_pixels_are_dropped() -> None:
    values, valid = np.zeros((32, 64)), np.zeros((32, 64), dtype=bool)
    values[:, 32:], valid[:, :32] = 5, True
    valid[:8, 32:63] = True  # 248 of 1024 pixels
    assert top_patches(cells_of(values, valid), patch=32)[0] == 0
    valid[:8, 63] = True  # 256 of 1024: a quarter
    assert top_patches(cells_of(values, valid), patch=32)[0] == 2.5


def test_without_a_valid_pixel_there_is_no_value() -> None:
    cells = cells_of(np.ones((20, 20)), np.zeros((20, 20), dtype=bool))
    assert np.isnan([mean(cells)[0], maximum(cells)[0], top_patches(cells)[0]]).all()


def test_fewer_patches_than_asked_for_are_all_taken() -> None:
    values = np.zeros((16, 48))
    values[:, :16] = 6
    assert top_patches(cells_of(values), patch=16, top=9)[0] == 2


def test_what_makes_no_sense_is_refused() -> None:
    cells = cells_of(np.ones((20, 20)))
    for patch in (0, 8, 20, -16):
        with pytest.raises(UsageError, match="multiple of 16"):
            patches_of(cells, patch)
    with pytest.raises(UsageError, match="at least 1"):
        top_patches(cells, top=0)
    for shape in ((0, 4), (3,), (1, 2, 3, 4)):
        with pytest.raises(UsageError, match="score map"):
            cells_of(np.ones(shape))
    with pytest.raises(UsageError, match="valid mask"):
        cells_of(np.ones((3, 4)), np.ones((4, 3), dtype=bool))


@FEW
@given(h=SIDES, w=SIDES, seed=SEEDS, x=st.integers(0, 5), y=st.integers(0, 5), side=st.sampled_from([16, 48]))
def test_a_cut_is_the_grid_of_the_cut_out_pixels(h: int, w: int, seed: int, x: int, y: int, side: int) -> None:
    values, valid = maps(seed, h, w, share_valid=0.7)
    left, upper = CELL * x, CELL * y
    whole = cells_of(values, valid)
    if left >= w or upper >= h:
        with pytest.raises(UsageError, match="region"):
            cut(whole, x=left, y=upper, width=side, height=side)
        return
    part = cut(whole, x=left, y=upper, width=side, height=side)
    box = np.s_[upper : upper + side, left : left + side]
    expected = cells_of(values[box], valid[box])
    assert (part.height, part.width) == (expected.height, expected.width)
    for name in ("sums", "tops", "counts"):
        np.testing.assert_allclose(getattr(part, name), getattr(expected, name))


def test_a_cut_between_cells_is_refused() -> None:
    cells = cells_of(np.ones((64, 64)))
    for region in ((8, 0, 16, 16), (0, 0, 20, 16), (-16, 0, 16, 16), (0, 0, 0, 16)):
        with pytest.raises(UsageError, match="grid of 16 px"):
            cut(cells, **dict(zip(("x", "y", "width", "height"), region, strict=True)))


def test_rows_of_any_sizes_are_read_one_by_one() -> None:
    parts = [cells_of(maps(seed, h, w)[0]) for seed, (h, w) in enumerate([(40, 50), (16, 16), (5, 100)])]
    packed = pack([*parts, parts[0]])
    assert packed.dtype == np.float32
    np.testing.assert_allclose(each_row(packed, mean), [mean(one)[0] for one in [*parts, parts[0]]], rtol=1e-6)
    np.testing.assert_array_equal(each_row(packed[1:2], mean), each_row(packed, mean)[1:2])
    by_row = {row: cells for at, cells in unpack(packed) for row in at.tolist()}
    assert [(by_row[row].height, by_row[row].width) for row in range(4)] == [(40, 50), (16, 16), (5, 100), (40, 50)]


def test_rows_that_are_no_grid_are_refused() -> None:
    packed = pack([cells_of(np.ones((40, 50)))])
    for broken in (packed[:, :9], packed[0], np.zeros((1, 30), dtype=np.float32)):
        with pytest.raises(DataError, match="patch-grid"):
            list(unpack(broken))


def test_many_images_at_once_are_each_as_alone() -> None:
    values = np.random.default_rng(3).random((3, 33, 50))
    together = cells_of(values)
    assert isinstance(together, Cells)
    for row in range(3):
        np.testing.assert_array_equal(together.sums[row], cells_of(values[row]).sums[0])
