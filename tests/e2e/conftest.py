"""The real image sets, unpacked as far as they are needed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

PER_CLASS = 300


@pytest.fixture(scope="session")
def cifar(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 test images of CIFAR-10 as ``<class>/NNNN.jpg``; not to be changed."""
    archive = data / "cifar10.tar.gz"
    folder = tmp_path_factory.mktemp("cifar")
    with tarfile.open(archive) as tar:
        for member in tar:
            _, part, name, file = Path(member.name).parts
            if part != "test":
                break
            if int(Path(file).stem) < PER_CLASS:
                contents = tar.extractfile(member)
                assert contents is not None
                (folder / name).mkdir(exist_ok=True)
                (folder / name / file).write_bytes(contents.read())
    return folder
