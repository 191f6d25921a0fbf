"""Where images come from: folders, manifests, lists of addresses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from foresift.core.errors import DataError, MissingPathError
from foresift.core.protocols import Arrivals, Progress, Source
from foresift.sources.addresses import BUCKETS, WEB, public, scheme_of
from foresift.sources.folder import IMAGE_SUFFIXES, FolderSource
from foresift.sources.manifest import ManifestSource
from foresift.sources.prefix import PrefixSource
from foresift.sources.read import local_path
from foresift.sources.tables import READERS
from foresift.sources.uris import UriListSource

__all__ = ["FolderSource", "ManifestSource", "PrefixSource", "UriListSource", "listed_addresses", "open_source"]


def open_source(
    spec: str | Path,
    *,
    stdin: Iterable[str] | None = None,
    progress: Progress | None = None,
    seen: Arrivals | None = None,
) -> Source:
    """The source behind a folder, a manifest file, a ``file://`` address, a bucket's prefix, or ``-``.

    Args:
        stdin: lines to use for ``-``; by default those of the process.
        seen: told of every remote sample as its bytes come in.
    Raises:
        MissingPathError: nothing is there; says what to give.
        DataError: it is of no kind that can be listed.
    """
    if spec == "-":
        return UriListSource(_standard_input() if stdin is None else stdin, progress=progress, seen=seen)
    if scheme_of(str(spec)) in BUCKETS:
        return PrefixSource(str(spec), progress=progress, seen=seen)
    if scheme_of(str(spec)) in WEB:
        raise DataError(
            f"{public(str(spec))}: a web server can't be asked for a list; give a manifest whose column uri holds"
            " addresses, or addresses on standard input (-)"
        )
    path = Path(local_path(str(spec)))
    suffix = path.suffix.lower()
    if path.is_dir() or not path.exists():
        return _folder_or_nothing(path, progress)
    if suffix in READERS:
        return ManifestSource(path, progress=progress, seen=seen)
    what = "a single image" if suffix[1:] in IMAGE_SUFFIXES else "a file of an unknown kind"
    raise DataError(
        f"{path}: {what}; expected a folder of images, a manifest ({', '.join(sorted(READERS))}),"
        " or - for addresses on standard input"
    )


def listed_addresses(spec: str | Path) -> list[str]:
    """Every address that a folder, a manifest or a bucket's prefix names, broken ones too; no image is opened.

    Raises:
        DataError: as :func:`open_source`, or what lies there can't be listed.
    """
    source = open_source(spec)
    if not isinstance(source, FolderSource | ManifestSource | PrefixSource):
        raise DataError(f"{spec}: expected a folder of images, a manifest or a bucket's prefix")
    listing = source.listing()
    return [*listing.uris, *(broken.uri for broken in listing.quarantined)]


def _folder_or_nothing(path: Path, progress: Progress | None) -> Source:
    if not path.is_dir():
        raise MissingPathError(
            f"{path}: no such file or folder; expected a folder of images, a manifest"
            f" ({', '.join(sorted(READERS))}), or - for addresses on standard input"
        )
    return FolderSource(path, progress=progress)


def _standard_input() -> Iterator[str]:
    # File names are bytes: decoded like every other path, not like text.
    return (os.fsdecode(line) for line in sys.stdin.buffer)
