"""Backups: everything that can't be computed again, in one file, and back into an empty workspace."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from foresift.app.workspace import Workspace
from foresift.core.about import foresift_version
from foresift.core.errors import DataError, UsageError
from foresift.core.times import utc_now
from foresift.stores.files import disk_errors, write_atomically
from foresift.stores.records.opening import FILE, check_empty, copy_records, restore_records

FORMAT = 1
_ABOUT = "backup.json"
_KEPT = ("receipts/**/*", "pools/**/*", "generations/**/*", "runs/*/*")
"""Beside the records; of generations where they lie and of runs the pool that they saw, not the weights."""
_FOLDERS = tuple(pattern.split("/")[0] for pattern in _KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds."""

    path: Path
    records: Mapping[str, int]
    """Rows by kind: runs, rounds, labels, ..."""
    files: Mapping[str, int]
    """Files by folder."""
    created_at: str
    foresift: str
    """Version that wrote it."""


def back_up(workspace: Workspace, out: Path) -> Backup:
    """Write a backup of a workspace, which may be in use; the file is whole or absent.

    Raises:
        UsageError: ``out`` is there and no backup.
        StoreError: the workspace can't be read, or ``out`` not be written.
    """
    if out.exists() and not _is_backup(out):
        raise UsageError(f"{out} is there already and no backup; give another name")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with _beside(out) as folder:
        copy = folder / FILE
        rows = copy_records(
            workspace.home, workspace.database_url, copy
        )  # before the files: those that it names are there already
        files = _files(workspace.home)
        about = {
            "format": FORMAT,
            "foresift": foresift_version(),
            "created_at": utc_now(),
            "records": rows,
            "files": {name: sum(path.parts[0] == name for path in files) for name in _FOLDERS},
        }
        write_atomically(out, lambda target: _pack(target, about, {FILE: copy, **_named(workspace.home, files)}))
    return _backup(out, about)


def restore_at(home: Path | str | None, file: Path) -> tuple[Workspace, Backup]:
    """:func:`restore` into the workspace at a place; the folder goes again if it was made for this and nothing came."""
    new = not Workspace.place(home).exists()
    workspace = Workspace.open(home)
    try:
        return workspace, restore(workspace, file)
    except BaseException:
        if new:
            shutil.rmtree(workspace.home, ignore_errors=True)
        raise


def restore(workspace: Workspace, file: Path) -> Backup:
    """Bring a backup into an empty workspace. Killed on the way, it may be called again with the same file.

    Raises:
        UsageError: no such file, or the workspace holds something else already.
        DataError: the file is no backup, or damaged.
        StoreError: a newer Foresift wrote it, or the workspace can't be written.
    """
    with _opened(file) as archive:
        about = _about(archive, file)
        names = [name for name in archive.namelist() if PurePosixPath(name).parts[0] in _FOLDERS]
        _refuse_others(workspace.home, archive, names)
        with _beside(workspace.home / FILE) as folder, disk_errors(workspace.home):
            for name in (*names, FILE):
                archive.extract(name, folder)  # all of it is read, and found whole, before anything is changed
            check_empty(workspace.home, workspace.database_url)
            for name in names:
                target = workspace.home / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (folder / name).replace(target)
            rows = restore_records(workspace.home, workspace.database_url, folder / FILE)
    return _backup(file, about | {"records": rows})


def _backup(path: Path, about: Mapping[str, Any]) -> Backup:
    return Backup(path=path, **{name: about[name] for name in ("records", "files", "created_at", "foresift")})


def _pack(target: Path, about: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_ABOUT, json.dumps(about, indent=2))
        for name, path in files.items():
            archive.write(path, name)


def _files(home: Path) -> list[PurePosixPath]:
    """Files of the folders that are kept, relative to ``home``; those that are still being written are not."""
    found = (path for pattern in _KEPT for path in sorted(home.glob(pattern)))
    files = [PurePosixPath(path.relative_to(home).as_posix()) for path in found if path.is_file()]
    return [path for path in files if not path.name.startswith(".")]


def _named(home: Path, files: list[PurePosixPath]) -> dict[str, Path]:
    return {str(name): home / name for name in files}


def _refuse_others(home: Path, archive: zipfile.ZipFile, names: list[str]) -> None:
    """Raise unless each file of the workspace is in the archive, byte by byte."""
    checksums = {name: archive.getinfo(name).CRC for name in names}
    for name, path in _named(home, _files(home)).items():
        if checksums.get(name) != zlib.crc32(path.read_bytes()):
            raise UsageError(f"the workspace {home} holds {name} already; restore into an empty one, given with --home")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary folder on the same disk."""
    with disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    if not file.is_file():
        raise UsageError(f"no backup at {file}")
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise DataError(f"{file} is no whole backup ({error}); take another one") from None


def _is_backup(path: Path) -> bool:
    return zipfile.is_zipfile(path) and _ABOUT in zipfile.ZipFile(path).namelist()


def _about(archive: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    about = json.loads(archive.read(_ABOUT)) if _ABOUT in archive.namelist() else {}
    if about.get("format") != FORMAT:
        raise DataError(f"{file} is no backup of format {FORMAT} (format: {about.get('format')!r})")
    unsafe = [name for name in archive.namelist() if ".." in PurePosixPath(name).parts or name.startswith("/")]
    if unsafe:
        raise DataError(
            f"{file} names files outside of the workspace ({unsafe[0][:80]}); it was not written by Foresift"
        )
    return dict(about)
