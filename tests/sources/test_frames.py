"""Frames in the order in which they come."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from foresift.sources.frames import BY_TIME, frames


def test_a_folder_by_name_and_by_time(tmp_path: Path) -> None:
    times = {"cam0/a.png": 3, "cam0/b.png": 1, "cam1/a.png": 2, "cam1/.hidden.png": 0, "cam1/note.txt": 0, "z.jpg": 1}
    for name, second in times.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (second, second))
    assert _names(tmp_path, frames(str(tmp_path))) == ["cam0/a.png", "cam0/b.png", "cam1/a.png", "z.jpg"]
    in_time = ["cam0/b.png", "z.jpg", "cam1/a.png", "cam0/a.png"]  # by name where times are equal
    assert _names(tmp_path, frames(str(tmp_path), order=BY_TIME)) == in_time


def test_a_frame_that_is_gone_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").symlink_to(tmp_path / "absent")
    assert _names(tmp_path, frames(str(tmp_path), order=BY_TIME)) == ["b.png", "a.png"]


def test_lines_keep_their_order(tmp_path: Path) -> None:
    for name, second in (("a.png", 2), ("b.png", 1)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (second, second))
    lines = [f"{tmp_path / name}\n" for name in ("a.png", "b.png")]
    assert _names(tmp_path, frames("-", stdin=lines, order=BY_TIME)) == ["a.png", "b.png"]


def _names(folder: Path, paths: Iterable[str]) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in paths]
