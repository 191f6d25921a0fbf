"""Real images and a small trained generation, shared by the tests of the upper rooms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from foresift.sources.digits import write_digits
from postgres import Postgres, installed_programs
from run_files import InProcess

# A first example may load a library on a busy machine: no clock decides whether a law holds.
hypothesis.settings.register_profile("unhurried", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("unhurried")

_OPENED: list[list[str]] = []


def _note_open(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        for names in _OPENED:
            names.append(arguments[0])


sys.addaudithook(_note_open)


@pytest.fixture
def opened_files() -> Iterator[list[str]]:
    """Every path that Python code opens while the test runs."""
    names: list[str] = []
    _OPENED.append(names)
    yield names
    _OPENED.remove(names)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the real image sets; a test that needs one is skipped without it, but never in CI."""
    project = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("FORESIFT_DATA") or project.parent / "shared" / "data")
    if not (folder / "cifar10.tar.gz").is_file():
        told = f"no {folder / 'cifar10.tar.gz'}; set FORESIFT_DATA to the folder of the real image sets"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return folder


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as PNG files, ``{train,test}/<digit>/*.png``; not to be changed."""
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def generation(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network trained on the 450 test digits; not to be changed."""
    from foresift.app.training.request import TrainRequest
    from foresift.app.training.train import train
    from foresift.app.workspace import Workspace

    folder = tmp_path_factory.mktemp("generation")
    request = TrainRequest(model="mlp:8", out=folder / "gen1", recipe={"epochs": 3})
    return train(Workspace.open(folder / "home"), digit_files / "test", request).folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace of the test's own."""
    return tmp_path / "home"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs do their tasks in this process; for tests that are not about processes."""
    monkeypatch.setattr("foresift.app.runs.lifecycle.Child", InProcess)


@pytest.fixture
def pool(digit_files: Path, tmp_path: Path) -> Path:
    """A folder of 60 unlabeled digits, six of each; the test's own."""
    return copy_digits(digit_files / "train", tmp_path / "pool", each=6)


def copy_digits(source: Path, target: Path, *, each: int, skip: int = 0) -> Path:
    """So many images of each digit, without class folders."""
    target.mkdir(parents=True, exist_ok=True)
    for digit in sorted(source.iterdir()):
        for file in sorted(digit.iterdir())[skip : skip + each]:
            shutil.copy(file, target / f"{digit.name}-{file.name}")
    return target


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a small file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server for all tests, which make databases of their own on it."""
    server = Postgres(installed_programs())
    try:
        server.start()
        yield server
    finally:
        server.remove()
