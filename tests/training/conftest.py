from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_digits

from foresift.core.generations import Transform
from foresift.training import ArrayImages


class Digits(NamedTuple):
    pixels: np.ndarray
    codes: np.ndarray
    transform: Transform

    def images(self, rows: slice) -> ArrayImages:
        return ArrayImages.from_array(self.pixels[rows], self.transform)


@pytest.fixture(scope="session")
def digits() -> Digits:
    """All 1797 digits as 8x8 RGB; the first 1347 are for training."""
    raw = load_digits()
    grey = (raw.images / 16 * 255).astype(np.uint8)
    half = (0.5, 0.5, 0.5)
    return Digits(np.repeat(grey[..., None], 3, axis=3), raw.target, Transform(size=8, mean=half, std=half))


TRAIN, TEST = slice(0, 1347), slice(1347, None)
