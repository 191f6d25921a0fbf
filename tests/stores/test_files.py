"""Files are whole or absent."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from foresift.core.errors import StoreError
from foresift.stores.files import read_json, require_room, write_atomically, write_json, write_text

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from foresift.stores.files import write_atomically

def half(path):
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), half)
"""


@pytest.mark.parametrize("old", [None, "old"])
def test_a_failure_leaves_what_was_there(old: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)

    def half(target: Path) -> None:
        target.write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, half)
    assert (path.read_text() if path.exists() else None) == old
    assert list(tmp_path.iterdir()) == ([path] if old else [])


@pytest.mark.timeout(150)
@pytest.mark.parametrize("old", [None, "old"])
def test_kill_9_leaves_what_was_there(old: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, path], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (path.read_text() if path.exists() else None) == old
    write_text(path, "new")
    assert path.read_text() == "new"


def test_the_new_file_replaces_the_old_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_files_are_as_private_as_the_user_wants(tmp_path: Path) -> None:
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        write_text(tmp_path / "file", "x")
        os.umask(before)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_a_full_device_is_a_clear_line() -> None:
    with pytest.raises(StoreError, match="no space left on the disk of /dev/full"):
        write_text(Path("/dev/full"), "x")
    assert Path("/dev/full").is_char_device()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "file"
    write_text(path, "old")
    with pytest.raises(StoreError, match="no space left"):
        write_text(path, "x" * 3_000_000)
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]


def test_what_cannot_be_written_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(StoreError, match=f"can't use {path}"):
            write_text(path, "x")


def test_json_comes_back_and_numbers_that_are_none_do_not_go_in(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"ä": [1, 2.5, None]})
    assert read_json(path) == {"ä": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) == {"ä": [1, 2.5, None]}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{path}"):
        read_json(path)


def test_a_json_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read_json(tmp_path / "nothing.json")


def test_a_disk_without_room_is_named_with_what_is_needed(tmp_path: Path) -> None:
    require_room(tmp_path, 1, what="a byte")
    needed = shutil.disk_usage(tmp_path).total + 1
    with pytest.raises(StoreError, match=f"ImageNet needs {needed:,} bytes in .* free; make room"):
        require_room(tmp_path, needed, what="ImageNet")
    with pytest.raises(StoreError, match="can't use"):
        require_room(tmp_path / "none", 1, what="a byte")
