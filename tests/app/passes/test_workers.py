"""Models that travel to workers leave nothing behind on their machines."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from foresift.app.models.served_model import served_model
from foresift.app.passes.workers import LEFT, LEFT_S, _seat_in, _travelled, remove_leftovers
from foresift.app.workspace import Workspace
from foresift.stores.generations import RECORD, WEIGHTS

ASKED = {"checkpoint": None, "backbone_only": False}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_model_that_travelled_works_and_its_files_are_gone(tmp_path: Path, temporary: Path) -> None:
    here = served_model(
        Workspace.open(tmp_path / "home"), "mlp:8", "random", base=tmp_path, image_size=16, classes=("a", "b")
    )
    files = {name: (here / name).read_bytes() for name in (RECORD, WEIGHTS)}
    there = _travelled(files, {"model": ASKED})
    assert not list(temporary.iterdir())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    expected = _seat_in(here, ASKED).engines.make("torch-f32", 2)(pixels)
    for got, want in zip(there.engines.make("torch-f32", 2)(pixels), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_killed_workers_left_is_removed_and_nothing_else(temporary: Path) -> None:
    old, kept = temporary / f"{LEFT}old", [temporary / f"{LEFT}young", temporary / "something-else"]
    for folder in (old, *kept):
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(b"weights")
    link = temporary / f"{LEFT}link"
    link.symlink_to(kept[1])
    before = time.time() - LEFT_S - 1
    for path in (old, kept[1], link):
        os.utime(path, (before, before), follow_symlinks=False)
    remove_leftovers()
    assert sorted(temporary.iterdir()) == sorted([*kept, link])
    assert (kept[1] / WEIGHTS).is_file()
