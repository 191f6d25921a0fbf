from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import DataError
from foresift.core.masks import IGNORED
from foresift.core.segmentation import DenseTransform
from foresift.training.masked_images import MaskedBatch, MaskedImages, Pair, batches


def numbered(sizes: list[tuple[int, int]]) -> list[Pair]:
    """Images whose red is the code of their mask, so that a pixel that lost its label shows; green is the row."""
    rng = np.random.default_rng(0)
    pairs = []
    for row, size in enumerate(sizes):
        mask = rng.integers(0, 100, size=size).astype(np.int16)
        pixels = np.stack([mask, np.full_like(mask, row), np.zeros_like(mask)], axis=2).astype(np.uint8)
        pairs.append((pixels, mask))
    return pairs


def as_images(pairs: list[Pair], **options: Any) -> MaskedImages:
    return MaskedImages(lambda row: pairs[row], len(pairs), DenseTransform(mean=(0.5, 0.5, 0.5)), **options)


def epoch(images: MaskedImages, number: int = 0, **options: Any) -> list[MaskedBatch]:
    loader = batches(images, **{"batch_size": 2, "seed": 1} | options)
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return list(loader)


SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)


@settings(max_examples=30)
@given(sizes=SIZES, crop=st.one_of(st.none(), st.tuples(st.integers(1, 12), st.integers(1, 12))), flip=st.booleans())
def test_image_and_mask_change_together(sizes: list[tuple[int, int]], crop: Any, flip: bool) -> None:
    for batch in epoch(as_images(numbered(sizes)), crop=crop, flip=flip):
        labeled = batch.codes != IGNORED
        assert torch.equal(batch.pixels[..., 0][labeled].long(), batch.codes[labeled])
        assert (batch.pixels[~labeled] == 128).all()
        if crop is not None:
            assert batch.codes.shape[1] <= crop[0]
            assert batch.codes.shape[2] <= crop[1]


def test_whole_images_in_order_without_a_seed() -> None:
    pairs = numbered([(4, 5)] * 3)
    found = epoch(as_images(pairs), seed=None)
    assert torch.equal(
        torch.cat([batch.codes for batch in found]), torch.tensor(np.stack([m for _, m in pairs])).long()
    )


def test_crops_and_flips_depend_on_seed_epoch_and_batch_only() -> None:
    images = as_images(numbered([(9, 9)] * 6))
    options: dict[str, Any] = {"crop": (4, 4), "flip": True}
    first = [batch.codes for batch in epoch(images, **options)]
    again = [batch.codes for batch in epoch(as_images(numbered([(9, 9)] * 6), cache_bytes=0), **options)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    later = [batch.codes for batch in epoch(images, 1, **options)]
    other_seed = [batch.codes for batch in epoch(images, seed=2, **options)]
    for changed in (later, other_seed):
        assert not all(torch.equal(one, other) for one, other in zip(first, changed, strict=True))


def test_flips_mirror_half_of_the_images() -> None:
    pairs = [(np.zeros((1, 2, 3), dtype=np.uint8), np.array([[0, 1]], dtype=np.int16))] * 200
    (batch,) = epoch(as_images(pairs), batch_size=200, flip=True)
    assert 70 < int(batch.codes[:, 0, 0].sum()) < 130
    (plain,) = epoch(as_images(pairs), batch_size=200)
    assert int(plain.codes[:, 0, 0].sum()) == 0


def test_a_crop_looks_for_labeled_pixels() -> None:
    mask = np.full((40, 40), IGNORED, dtype=np.int16)
    mask[:20] = 1
    pairs = [(np.zeros((40, 40, 3), dtype=np.uint8), mask)] * 64
    found = torch.cat([batch.codes for batch in epoch(as_images(pairs), crop=(4, 4))])
    assert (found != IGNORED).any(dim=(1, 2)).all()


def test_one_image_comes_twice_because_batch_norm_can_t_learn_from_one() -> None:
    (batch,) = epoch(as_images(numbered([(4, 5)])))
    assert batch.codes.shape == (2, 4, 5)


def test_memory_is_bounded_and_what_does_not_fit_is_asked_for_again() -> None:
    pairs, asked = numbered([(10, 10)] * 4), list[int]()
    images = MaskedImages(lambda row: asked.append(row) or pairs[row], 4, DenseTransform(), cache_bytes=1000)
    for _ in range(2):
        images.pairs(np.arange(4))
    assert asked == [0, 1, 2, 3, 2, 3]
    assert not images.cached


def test_an_image_and_a_mask_of_different_sizes_are_refused() -> None:
    images = as_images([(np.zeros((4, 5, 3), dtype=np.uint8), np.zeros((5, 4), dtype=np.int16))])
    with pytest.raises(DataError, match="row 0"):
        images.pair(0)
