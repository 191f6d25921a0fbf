"""Bytes of a file, local or remote, or the one reason why there are none."""

# Plain strings instead of Path objects: a pool may hold a million of them.
# ruff: noqa: PTH100, PTH114, PTH116, PTH118
from __future__ import annotations

import errno
import os
import re
import stat
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from foresift.core.errors import DataError
from foresift.sources.addresses import REMOTE, is_remote, public

MAX_BYTES = 512 * 2**20
"""Files above this size are refused, because nothing that people label weighs as much."""

Stamp: TypeAlias = tuple[int, int]
"""(size_bytes, mtime_ns): while it is unchanged, so are the bytes. A remote object has its ETag in place of a time."""
UNSEEN: Stamp = (-1, -1)
"""In place of the stamp of a remote object that nobody asked for yet."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REASONS = {
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
    errno.ELOOP: "a link that leads back to itself",
    errno.ENAMETOOLONG: "the file name is too long",
    errno.ENOTDIR: "no such file: a part of its path is not a folder",
    errno.ENXIO: "a socket or device, not a regular file",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnreadableError(DataError):
    """A file without usable bytes; ``uri`` and ``reason`` are ready for a quarantine list."""

    def __init__(self, uri: str, reason: str) -> None:
        self.uri = printable(uri)
        self.reason = reason
        super().__init__(f"{self.uri}: {reason}")


class FileBytes(NamedTuple):
    """All bytes of a file and the stamp they had."""

    data: bytes
    stamp: Stamp


def fetch(uri: str, *, limit_bytes: int = MAX_BYTES) -> bytes:
    """All bytes behind a local path, a ``file://`` or a remote address; never blocks on a pipe.

    Raises:
        DataError: one line with the address and the reason.
    """
    if is_remote(uri):
        try:
            from foresift.sources.remote import remote
        except ModuleNotFoundError:  # an exported folder on a device
            raise UnreadableError(
                public(uri), "a remote address, which a device can't read; give local files"
            ) from None
        return remote().fetch(uri, limit_bytes=limit_bytes)
    return read(local_path(uri), limit_bytes=limit_bytes).data


def read(path: str, *, limit_bytes: int = MAX_BYTES) -> FileBytes:
    """Bytes and stamp of a regular file, taken from one open descriptor so that they belong together.

    Raises:
        UnreadableError: vanished, forbidden, empty, too large, not a regular file, or changing.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _contents(descriptor, path, limit_bytes)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise UnreadableError(path, reason_of(path, error)) from None


def _contents(descriptor: int, path: str, limit_bytes: int) -> FileBytes:
    status = os.fstat(descriptor)
    if (reason := complaint(status, limit_bytes=limit_bytes)) is not None:
        raise UnreadableError(path, reason)
    data = _read_up_to(descriptor, status.st_size + 1)
    if len(data) != status.st_size:
        raise UnreadableError(path, "it changed while it was read")
    return FileBytes(data, (status.st_size, status.st_mtime_ns))


def _read_up_to(descriptor: int, size_bytes: int) -> bytes:
    """One system call as a rule; a file object around each small file would cost more than reading it."""
    data = os.read(descriptor, size_bytes)
    while 0 < len(data) < size_bytes - 1:
        more = os.read(descriptor, size_bytes - len(data))
        if not more:
            break
        data += more
    return data


def look(path: str, *, limit_bytes: int = MAX_BYTES) -> Stamp:
    """Stamp of a regular file without reading it.

    Raises:
        UnreadableError: as :func:`read`, as far as it shows without opening the file.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise UnreadableError(path, reason_of(path, error)) from None
    reason = unspeakable(path) or complaint(status, limit_bytes=limit_bytes)
    if reason is not None:
        raise UnreadableError(path, reason)
    return status.st_size, status.st_mtime_ns


def complaint(status: os.stat_result, *, limit_bytes: int = MAX_BYTES) -> str | None:
    """Why a file of this status can't be an image, or None."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        return f"{kind}, not a regular file"
    if status.st_size == 0:
        return "zero bytes long"
    if status.st_size > limit_bytes:
        return f"{status.st_size} bytes long, above the limit of {limit_bytes}"
    return None


def reason_of(path: str, error: Exception) -> str:
    """A few words for what the operating system said of a path."""
    if not isinstance(error, OSError):
        return "not a possible file name"
    if error.errno == errno.ENOENT:
        return "a link to a file that does not exist" if os.path.islink(path) else "no such file"
    return _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__


def unspeakable(path: str) -> str | None:
    """Why a path can't be written into a file of ids and addresses, or None."""
    if path.isascii():
        return None
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the file name is not valid UTF-8; rename the file"
    return None


def printable(path: str) -> str:
    """The path itself, or with ``\\xNN`` for bytes that are no UTF-8."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, as JSON can spell it
        return path.encode("utf-8", "backslashreplace").decode()


def local_path(uri: str) -> str:
    """The path behind a plain path or a ``file://`` address.

    Raises:
        DataError: the address is remote.
    """
    match = _SCHEME.match(uri)
    if match is None:
        return uri
    if match[1].lower() != "file":
        if match[1].lower() in REMOTE:
            raise DataError(f"{public(uri)}: expected a local path here, not a remote address")
        raise DataError(f"{uri}: expected a path, file:// or {', '.join(f'{s}://' for s in REMOTE)}, got {match[1]}://")
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise DataError(f"{uri}: expected file:///path of this machine, got the host {parts.netloc!r}")
    return unquote(uri[len(match[0]) + len(parts.netloc) :], errors="surrogateescape")


def absolute(uri: str, *, base: str) -> str:
    """An absolute plain path, or the public name of a remote object; relative paths start at the folder ``base``."""
    if "://" not in uri:  # as nearly all are: nothing to look for
        return os.path.abspath(os.path.join(base, uri))
    if is_remote(uri):
        return public(uri.strip())
    return os.path.abspath(os.path.join(base, local_path(uri)))
