"""Files that are whole or absent: write beside, flush, rename."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foresift.core.errors import StoreError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it into place.

    A reader sees the old file or the whole new one. Devices and pipes are written directly.

    Raises:
        StoreError: full disk, no permission, no such folder.
    """
    with disk_errors(path):
        if path.exists() and not path.is_file():
            write(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            temporary.chmod(0o666 & ~_umask())
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically; see :func:`write_atomically`."""
    write_atomically(path, lambda target: _write_bytes(target, text.encode("utf-8", "surrogateescape")))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON of a file.

    Raises:
        StoreError: unreadable or not JSON.
    """
    with disk_errors(path):
        data = path.read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON: {error}") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the operating system unlocks for those that die."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require_room(folder: Path, size_bytes: int, *, what: str) -> None:
    """Pass where a folder's disk has room for so many bytes more.

    Raises:
        StoreError: it has not; says how much is needed and how much is free.
    """
    with disk_errors(folder):
        free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise StoreError(
            f"{what} needs {size_bytes:,} bytes in {folder}, whose disk has {free:,} free; "
            "make room there, or name a folder on another disk"
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about ``path`` into one clear line."""
    try:
        yield
    except OSError as error:
        raise StoreError(describe(error, path)) from error


def describe(error: OSError, path: Path) -> str:
    """One line for what the operating system said."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk of {path}; free some and run the same command again: nothing done is lost"
    return f"can't use {path}: {error.strerror or error}"


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
