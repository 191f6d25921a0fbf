"""A folder tree of images; one folder a class, where the tree looks like that."""

# Plain strings and os.scandir instead of Path objects: a million files in seconds.
# ruff: noqa: PTH100, PTH116
from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from foresift.core.errors import DataError
from foresift.core.protocols import DigestMemory, Progress
from foresift.core.samples import Pool, Quarantined
from foresift.sources.identity import Listing, identify
from foresift.sources.read import Stamp, complaint, printable, reason_of, unspeakable

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "png", "webp", "bmp", "tif", "tiff", "gif"})
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
"""Folders of these names, in lower case, are parts of a set and no classes."""
SUFFIXES_NAMED = 8
"""Suffixes of files passed over that a note tells apart."""


class FolderSource:
    """Every image under a folder, at any depth, hidden files and folders left out.

    If each image lies at least one folder deep and there are two or more such folders,
    their names are the labels. Where all of them are splits (``train``, ``test``, ...), the folders inside are.
    """

    name: str

    def __init__(self, path: str | Path, *, progress: Progress | None = None) -> None:
        self.name = os.path.abspath(path)
        self._progress = progress

    def pool(self, digests: DigestMemory, *, need_digests: bool) -> Pool:
        """Every sample of the tree; the content digest is the id.

        Raises:
            DataError: the folder does not exist or is a file.
        """
        return identify(self.listing(), digests, need_digests=need_digests, progress=self._progress)

    def listing(self) -> Listing:
        """Paths, stamps and labels; O(files) stats, no file is opened."""
        _require_folder(self.name)
        walk = _Walk()
        walk.tree(self.name)
        labels = folder_labels(self.name, walk.uris)
        notes = []
        if walk.passed_over:
            notes.append(passed_over_note(walk.passed_over))
        if splits := split_folders(self.name, walk.uris):
            notes.append(splits_note(splits))
        if labels is not None:
            notes.append(f"the names of {len(set(labels))} folders are labels, for train and evaluate only")
        return Listing(
            name=self.name,
            uris=walk.uris,
            stamps=walk.stamps,
            labels=labels,
            quarantined=tuple(walk.quarantined),
            notes=tuple(notes),
        )


@dataclass(slots=True)
class _Walk:
    """What a walk has seen so far."""

    uris: list[str] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Files without an image's suffix, by the suffix that they have."""

    def tree(self, root: str) -> None:
        """Walk ``root`` in order of names. Keeps its own stack, so depth is no limit."""
        pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(root, frozenset())]
        while pending:
            path, above = pending.pop()
            try:
                status = os.stat(path)
                here = (status.st_dev, status.st_ino)
                if here in above:
                    self._quarantine(path, "a link that leads back to a folder above it")
                    continue
                with os.scandir(path) as entries:
                    ordered = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._quarantine(path, reason_of(path, error))
                continue
            folders = self._folder(ordered)
            inside = above | {here}
            pending.extend((folder, inside) for folder in reversed(folders))

    def _folder(self, entries: list[os.DirEntry[str]]) -> list[str]:
        """Take the files of one folder; give its subfolders."""
        folders: list[str] = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                folders.append(entry.path)
            elif has_image_suffix(entry.name):
                self._file(entry)
            else:
                self.passed_over[suffix_of(entry.name)] += 1
        return folders

    def _file(self, entry: os.DirEntry[str]) -> None:
        path = entry.path
        try:
            status = entry.stat()
        except OSError as error:
            self._quarantine(path, reason_of(path, error))
            return
        reason = unspeakable(path) or complaint(status)
        if reason is not None:
            self._quarantine(path, reason)
            return
        self.uris.append(path)
        self.stamps.append((status.st_size, status.st_mtime_ns))

    def _quarantine(self, path: str, reason: str) -> None:
        self.quarantined.append(Quarantined(uri=printable(path), reason=reason))


def has_image_suffix(name: str) -> bool:
    """Whether a file is taken for an image by its name."""
    return suffix_of(name)[1:] in IMAGE_SUFFIXES


def suffix_of(name: str) -> str:
    """``.heic`` of ``a.HEIC``; empty without a dot."""
    _, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if dot else ""


def passed_over_note(counts: Counter[str]) -> str:
    """``passed over 12 files: 10 .heic, 2 .txt``; the most frequent suffixes first."""
    total = counts.total()
    kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{count:,} {printable(suffix) or 'without a suffix'}" for suffix, count in kinds[:SUFFIXES_NAMED]]
    if rest := sum(count for _, count in kinds[SUFFIXES_NAMED:]):
        named.append(f"{rest:,} others")
    return f"passed over {total:,} file{'s' if total != 1 else ''}: {', '.join(named)}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that can't be followed: its stat gives the reason


def _require_folder(path: str) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{printable(path)}: {reason_of(path, error)}; expected a folder of images or a manifest file"
        ) from None
    if not stat.S_ISDIR(status.st_mode):
        raise DataError(
            f"{printable(path)}: a file, expected a folder of images; give the folder that holds it,"
            " or a manifest (.csv, .tsv, .jsonl, .parquet)"
        )


def folder_labels(root: str, uris: list[str]) -> list[str] | None:
    """First path component of each image, or None unless the tree has a folder for each class.

    Where all of these are splits, the component below them, which then is the class.
    """
    depth = 1 if split_folders(root, uris) else 0
    parts = [uri[len(root.rstrip("/")) + 1 :].split("/", depth + 1) for uri in uris]
    if not all(len(part) > depth + 1 for part in parts):
        return None
    labels = [part[depth] for part in parts]
    return labels if len(set(labels)) > 1 else None


def split_folders(root: str, uris: list[str]) -> list[str]:
    """The folders directly under the root, if all of them are named like splits and hold folders only; else none."""
    parts = [uri[len(root.rstrip("/")) + 1 :].split("/", 2) for uri in uris]
    heads = {part[0] for part in parts}
    deep = all(len(part) == 3 for part in parts)
    return sorted(heads) if heads and deep and {head.lower() for head in heads} <= SPLITS else []


def splits_note(splits: list[str]) -> str:
    """What a person should know of a root that holds splits."""
    return f"{', '.join(splits)}: splits of one set, taken together; the folders inside them are the classes"
