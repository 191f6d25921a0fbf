"""Embeddings of patches: each is cut out, brought to the backbone's size and asked alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foresift.core.errors import NonFiniteError, UsageError
from foresift.core.generations import Transform
from foresift.inference import crop_embeddings
from foresift.inference.crop_embeddings import CropEmbeddings, CropSubject
from images import noise


def means(crops: np.ndarray) -> np.ndarray:
    """(b, 3) the mean colour of each crop."""
    return crops.mean(axis=(1, 2)).astype(np.float32)


@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_a_row_holds_every_patch_in_order(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_embeddings, "CROPS_AT_ONCE", at_once)
    pixels = noise(70, 100, seed=1)
    made = CropEmbeddings(patch=32).scorer(CropSubject(embed=means, transform=Transform(size=8)))(pixels)
    assert (made.height, made.width) == (70, 100)
    rows = made.values.reshape(3, 4, 3)
    for i in range(3):
        for j in range(4):
            part = Image.fromarray(pixels[32 * i : 32 * i + 32, 32 * j : 32 * j + 32])
            expected = np.array(part.resize((8, 8), Image.Resampling.BILINEAR)).mean(axis=(0, 1))
            np.testing.assert_allclose(rows[i, j], expected, rtol=1e-5)


def test_patch_0_is_the_whole_image() -> None:
    pixels = noise(20, 30, seed=2)
    made = CropEmbeddings(patch=0).scorer(CropSubject(embed=means, transform=Transform(size=8)))(pixels)
    assert made.values.shape == (3,)


def test_what_is_not_finite_or_off_the_grid_is_refused() -> None:
    subject = CropSubject(embed=lambda crops: means(crops) * np.nan, transform=Transform(size=8))
    with pytest.raises(NonFiniteError, match="not finite"):
        CropEmbeddings(patch=16).scorer(subject)(noise(16, 16))
    with pytest.raises(UsageError, match="multiple of 16"):
        CropEmbeddings(patch=20)
