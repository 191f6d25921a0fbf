import numpy as np
import pytest
import torch

from foresift.core.generations import Transform
from foresift.training.augment import augment, normalise
from foresift.training.recipe import CHOICES

KINDS = [kind for kind in CHOICES["augment"] if kind != "none"]


def pixels(count: int = 6, size: int = 16) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_pixels_and_every_part_of_the_seed_counts(kind: str) -> None:
    before = torch.get_rng_state()
    first = augment(pixels(), kind=kind, seed=(1, 2, 3))
    assert torch.equal(first, augment(pixels(), kind=kind, seed=(1, 2, 3)))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(first, augment(pixels(), kind=kind, seed=other))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_range_stay_and_the_input_is_not_changed(kind: str) -> None:
    given = pixels()
    kept = given.clone()
    changed = augment(given, kind=kind, seed=(0, 0, 0))
    assert changed.shape == given.shape
    assert 0 <= changed.min() <= changed.max() <= 255
    assert torch.equal(given, kept)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flip-crop-color"])
def test_a_plain_image_stays_as_it_is(kind: str) -> None:
    plain = torch.full((4, 16, 16, 3), 77, dtype=torch.uint8)
    torch.testing.assert_close(augment(plain, kind=kind, seed=(0, 0, 0)).float(), plain.float())


def test_shift_moves_without_mirroring_by_at_most_an_eighth() -> None:
    given = pixels(40)
    moved = augment(given, kind="shift", seed=(0, 0, 0))
    offsets = set()
    for image, original in zip(moved, given, strict=True):
        inner = image[4:12, 4:12]
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(inner, original[4 + dy : 12 + dy, 4 + dx : 12 + dx])
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) > 10


def test_flips_mirror_about_half_of_the_images() -> None:
    given = pixels(200)
    images = augment(given, kind="flip-crop", seed=(0, 0, 0))
    centre = slice(4, 12)

    def moved(image: torch.Tensor, original: torch.Tensor) -> bool:
        shifts = range(-2, 3)
        return any(
            torch.equal(image[centre, centre], original[4 + y : 12 + y, 4 + x : 12 + x]) for y in shifts for x in shifts
        )

    straight = sum(moved(image, original) for image, original in zip(images, given, strict=True))
    mirrored = sum(moved(image, original.flip(1)) for image, original in zip(images, given, strict=True))
    assert straight + mirrored == 200
    assert 70 < mirrored < 130


def test_normalised_input_by_the_definition() -> None:
    transform = Transform(size=16)
    images = normalise(pixels(), transform)
    assert images.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        expected = (pixels()[..., channel].double() / 255 - transform.mean[channel]) / transform.std[channel]
        torch.testing.assert_close(images[:, channel].double(), expected, rtol=0, atol=1e-5)
