"""Images and masks for runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from segmentation_files import write_squares


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images to choose from and two of another split; not to be changed."""
    root = write_squares(tmp_path_factory.mktemp("squares"), count=10)
    return write_squares(root, split="test", count=2)
