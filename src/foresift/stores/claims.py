"""Claims on shards by byte-range locks: one small file a pass, byte i for shard i.

The operating system drops a process's locks when it dies, so a killed worker blocks
nobody. The byte's value says whether the shard is stored. Two passes in one process do
not exclude each other; both then store equal rows, which is harmless.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from foresift.stores.files import disk_errors

_DONE = b"d"


class FileClaims:
    """A :class:`foresift.core.protocols.ShardClaims` over a file of ``shards`` bytes."""

    def __init__(self, path: Path, shards: int) -> None:
        self._path = path
        self._shards = shards
        self._handle = -1

    def __enter__(self) -> FileClaims:
        """Open or create the file."""
        with disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file: every lock of this process goes."""
        os.close(self._handle)
        self._handle = -1

    def claim(self, shard: int) -> bool:
        """Lock the shard's byte, or False if another process has it."""
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, shard)
        except OSError:
            return False
        return True

    def wait(self, shard: int) -> None:
        """Lock the shard's byte as soon as nobody else has it."""
        fcntl.lockf(self._handle, fcntl.LOCK_EX, 1, shard)

    def is_done(self, shard: int) -> bool:
        """Whether the shard's byte says stored."""
        return os.pread(self._handle, 1, shard) == _DONE

    def release(self, shard: int, *, done: bool) -> None:
        """Note whether the shard is stored, and unlock."""
        with disk_errors(self._path):
            if done:
                os.pwrite(self._handle, _DONE, shard)
        fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, shard)
