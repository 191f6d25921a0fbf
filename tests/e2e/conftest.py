"""The real image sets, unpacked as far as they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import unpacked

PER_CLASS = 300


@pytest.fixture(scope="session")
def cifar(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 test images of CIFAR-10 as ``<class>/NNNN.jpg``; not to be changed."""
    return unpacked(data, tmp_path_factory.mktemp("cifar"), per_class=PER_CLASS)


@pytest.fixture(scope="session")
def cifar_10000(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 10,000 test images of CIFAR-10; not to be changed."""
    return unpacked(data, tmp_path_factory.mktemp("cifar-10000"), per_class=1_000)
