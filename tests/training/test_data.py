from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.generations import Transform
from foresift.training.data import ArrayImages, EpochOrder, check_codes, loader


def pixels(count: int = 11, size: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@given(count=st.integers(1, 60), size=st.integers(1, 20), epoch=st.integers(0, 5))
def test_every_epoch_holds_every_row_once_and_no_batch_of_one(count: int, size: int, epoch: int) -> None:
    order = EpochOrder(count, size, seed=3)
    order.set_epoch(epoch)
    batches = [key.rows for key in order]
    assert len(batches) == len(order)
    assert min(map(len, batches)) > 1
    alone = 2 if count == 1 or size == 1 else 1  # batch norm needs two values
    assert sorted(np.concatenate(batches)) == sorted(alone * list(range(count)))


def test_order_depends_on_seed_and_epoch_only() -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        order = EpochOrder(50, 8, seed=seed)
        order.set_epoch(epoch)
        return np.concatenate([key.rows for key in order]).tolist()

    assert rows(1, 0) == rows(1, 0)
    assert len({tuple(rows(s, e)) for s in (1, 2) for e in (0, 1)}) == 4


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_batches_do_not_depend_on_the_number_of_workers(cache_bytes: int) -> None:
    held = pixels()
    codes = np.arange(11) % 3

    def batches(workers: int) -> list[Any]:
        images = ArrayImages(lambda row: held[row], 11, Transform(size=4), cache_bytes=cache_bytes)
        return list(loader(images, codes, batch_size=4, seed=5, workers=workers))

    alone, together = batches(0), batches(2)
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.codes, other.codes)
        assert (one.epoch, one.number) == (other.epoch, other.number)


def test_small_sets_are_decoded_once_and_large_ones_never_kept() -> None:
    held, calls = pixels(), []

    def load(row: int) -> np.ndarray:
        calls.append(row)
        return held[row]

    for cache_bytes, expected in ((11 * 4 * 4 * 3, 11), (11 * 4 * 4 * 3 - 1, 22)):
        calls.clear()
        images = ArrayImages(load, 11, Transform(size=4), cache_bytes=cache_bytes)
        for _ in range(2):
            np.testing.assert_array_equal(images.batch(np.arange(11)), held)
        assert len(calls) == expected


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_an_image_of_another_size_names_its_row(cache_bytes: int) -> None:
    images = ArrayImages(lambda _: pixels(1, 5)[0], 3, Transform(size=4), cache_bytes=cache_bytes)
    with pytest.raises(DataError, match=r"row \d: expected \(4, 4, 3\) uint8, got \(5, 5, 3\)"):
        images.batch(np.array([2]))


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="at least 2 classes"):
        check_codes(np.array([0, 0]), count=2, classes=1)
    with pytest.raises(LabelError, match=r"row 1: class code 3 is outside 0 \.\. 2"):
        check_codes(np.array([0, 3]), count=2, classes=3)
    with pytest.raises(LabelError, match="code -1"):
        check_codes(np.array([0, -1]), count=2, classes=3)
    for codes, count in ((np.array([0]), 2), (np.zeros(0, int), 0), (np.zeros((2, 1), int), 2)):
        with pytest.raises(UsageError):
            check_codes(codes, count=count, classes=3)


def test_absent_classes_are_a_note() -> None:
    assert check_codes(np.array([0, 1, 2]), count=3, classes=3) == ()
    assert check_codes(np.array([0, 2, 2]), count=3, classes=4) == (
        "2 of 4 classes have no sample to learn from (codes 1, 3)",
    )
