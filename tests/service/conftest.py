"""Forty pictures, and servers on free ports of the loopback interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("dark", "light")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures, dark ones and light ones."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(40):
        low = 0 if number % 2 else 150
        (root / CLASSES[1 - number % 2]).mkdir(exist_ok=True)
        pixels = rng.integers(low, low + 100, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / CLASSES[1 - number % 2] / f"{number:02d}.png")
    return root
