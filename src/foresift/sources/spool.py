"""Bytes that came over a network, kept by digest, so that nothing is downloaded twice while there is room."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from foresift.core.digests import digest_bytes

ROOM_BYTES = 4 << 30
_TIDY = 0.8
"""Share of the room that is left in use when it has run out."""


class Spool:
    """A folder of files named by the digest of their bytes; any of them, or all, may be deleted at any time.

    Several processes may share it. What does not fit on the disk is not kept, which costs a download later.
    """

    def __init__(self, folder: Path, *, room_bytes: int = ROOM_BYTES) -> None:
        self.folder = folder
        self._room_bytes = room_bytes
        self._used: int | None = None
        self._lock = threading.Lock()

    def put(self, digest: str, data: bytes) -> None:
        """Keep bytes; the oldest ones make room."""
        path = self._path(digest)
        if len(data) > self._room_bytes or path.exists():
            return
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(path)
        except OSError:  # a full disk: this is a cache, and the bytes lie where they came from
            with suppress(OSError):
                part.unlink()
            return
        self._account(len(data))

    def get(self, digest: str) -> bytes | None:
        """The bytes of a digest, if they are here and whole."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if digest_bytes(data) == digest:
            return data
        with suppress(OSError):
            path.unlink()
        return None

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest

    def _account(self, size_bytes: int) -> None:
        with self._lock:
            self._used = sum(size for _, size, _ in self._files()) if self._used is None else self._used + size_bytes
            if self._used > self._room_bytes:
                self._used = self._tidy()

    def _tidy(self) -> int:
        """Delete the oldest files; how many bytes stay."""
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used <= _TIDY * self._room_bytes:
                break
            with suppress(OSError):  # another process may be tidying as well
                path.unlink()
            used -= size
        return used

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.folder.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path
