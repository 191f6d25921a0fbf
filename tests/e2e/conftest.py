"""The real image sets, unpacked as far as they are needed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

PER_CLASS = 300


@pytest.fixture(scope="session")
def cifar(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 test images of CIFAR-10 as ``<class>/NNNN.jpg``; not to be changed."""
    return unpacked(data, tmp_path_factory.mktemp("cifar"), per_class=PER_CLASS)


@pytest.fixture(scope="session")
def cifar_10000(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 10,000 test images of CIFAR-10; not to be changed."""
    return unpacked(data, tmp_path_factory.mktemp("cifar-10000"), per_class=1_000)


def unpacked(data: Path, folder: Path, *, per_class: int) -> Path:
    """The first test images of each class, as files below ``folder``."""
    archive = data / "cifar10.tar.gz"
    with tarfile.open(archive) as tar:
        for member in tar:
            _, part, name, file = Path(member.name).parts
            if part != "test":
                break
            if int(Path(file).stem) < per_class:
                contents = tar.extractfile(member)
                assert contents is not None
                (folder / name).mkdir(exist_ok=True)
                (folder / name / file).write_bytes(contents.read())
    return folder
