"""An exported fleet and the frames that its devices see."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import copy_digits
from foresift.app.fleet.exporting import FleetRequest, export_fleet
from foresift.app.passes.stored import PassOptions
from foresift.app.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.open(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def exported(
    generation: Path, digit_files: Path, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    pool = copy_digits(digit_files / "train", folder / "calibration", each=20)
    request = FleetRequest(
        model=generation,
        calibrate=pool,
        out=folder / "export",
        quota_per_day=12,
        frames_per_day=100,
        options=PassOptions(engine="torch-f32"),
    )
    return export_fleet(workspace, request).folder


@pytest.fixture
def stream(digit_files: Path, tmp_path: Path) -> Path:
    """A hundred frames that calibration has not seen."""
    return copy_digits(digit_files / "train", tmp_path / "stream", each=10, skip=40)
