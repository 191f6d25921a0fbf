"""From a listing of files to a pool: who is who, by content digest or by the user's own ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from foresift.core.digests import digest_bytes
from foresift.core.protocols import Arrivals, DigestMemory, Progress, Silent
from foresift.core.samples import Conflict, Pool, Quarantined
from foresift.sources.addresses import is_remote
from foresift.sources.read import UNSEEN, Stamp, UnreadableError, look, read

T = TypeVar("T")
_REMEMBER_EVERY = 4096
"""Files read between two visits to the memory: what an interrupted first look may lose."""
_FILES_PER_TASK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a source found: n files that look readable, and those that do not."""

    name: str
    uris: Sequence[str]
    """n absolute plain paths."""
    stamps: Sequence[Stamp]
    """n sizes and modification times."""
    ids: Sequence[Any] | None = None
    """n distinct ids of the user's own; without them the content digest is the id."""
    labels: Sequence[str | None] | None = None
    groups: Sequence[str] | None = None
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()

    def take(self, rows: Sequence[int]) -> Listing:
        """The listing of the given rows."""
        return replace(
            self,
            uris=[self.uris[row] for row in rows],
            stamps=[self.stamps[row] for row in rows],
            ids=_pick(self.ids, rows),
            labels=_pick(self.labels, rows),
            groups=_pick(self.groups, rows),
        )


def list_files(
    name: str,
    uris: Sequence[str],
    *,
    ids: Sequence[Any] | None = None,
    labels: Sequence[str | None] | None = None,
    groups: Sequence[str] | None = None,
) -> Listing:
    """The listing of given addresses; those without a usable file are quarantined.

    O(n) stats, no reads; what is remote is not asked for before its bytes are needed.
    """
    stamps: list[Stamp] = []
    broken: dict[int, Quarantined] = {}
    for row, uri in enumerate(uris):
        try:
            stamps.append(UNSEEN if is_remote(uri) else look(uri))
        except UnreadableError as error:
            stamps.append((0, 0))
            broken[row] = Quarantined(uri=error.uri, reason=error.reason)
    listing = Listing(name=name, uris=uris, stamps=stamps, ids=ids, labels=labels, groups=groups)
    return _without(listing, broken) if broken else listing


def identify(
    listing: Listing,
    memory: DigestMemory,
    *,
    need_digests: bool,
    progress: Progress | None = None,
    seen: Arrivals | None = None,
) -> Pool:
    """The pool of a listing. Reads only files whose digest is needed and not remembered.

    Without own ids equal bytes become one sample with several addresses; if they carry
    different labels, they are a conflict and the sample has none. With own ids every row
    stays a sample and keeps its label; the conflict is reported where digests are known.

    Args:
        seen: told of every remote sample as its bytes come in, in ascending order of address.
    Raises:
        UnreachableError: a host gives nothing at all.
    """
    if listing.ids is not None and not need_digests:
        return _pool(listing, listing.ids, digests=[""] * len(listing.uris))
    listing, digests = _digested(listing, memory, progress or Silent(), seen)
    twins = _equal_rows(digests, listing.uris)
    conflicts = _conflicts(listing, twins)
    if listing.ids is not None:
        return _pool(listing, listing.ids, digests=digests, conflicts=conflicts)
    return _merged(listing, digests, twins, conflicts)


def _digested(
    listing: Listing, memory: DigestMemory, progress: Progress, seen: Arrivals | None
) -> tuple[Listing, list[str]]:
    """The rows whose bytes are known, and their digests; the others go to quarantine."""
    found = memory.lookup(listing.uris, listing.stamps)
    far = [row for row, uri in enumerate(listing.uris) if is_remote(uri) and (seen is not None or found[row] is None)]
    away = set(far)
    missing = [row for row, digest in enumerate(found) if digest is None and row not in away]
    broken: dict[int, Quarantined] = {}
    if seen is not None and far:
        seen.begin(listing.name, len(far))
    if missing or far:
        progress.start("reading images", len(missing) + len(far))
        for row, digest in _all_rows(listing.uris, missing, far, found, memory, progress, seen):
            if isinstance(digest, Quarantined):
                broken[row] = digest
            else:
                found[row] = digest
        progress.done()
    digests = [digest for digest in found if digest is not None]
    return (_without(listing, broken) if broken else listing), digests


def _all_rows(
    uris: Sequence[str],
    near: Sequence[int],
    far: Sequence[int],
    found: Sequence[str | None],
    memory: DigestMemory,
    progress: Progress,
    seen: Arrivals | None,
) -> Iterator[tuple[int, str | Quarantined]]:
    if near:
        yield from _read_rows(uris, near, memory, progress)
    if far:
        from foresift.sources.downloads import Download, downloaded

        wanted = [Download(row, uris[row], found[row]) for row in far]
        yield from downloaded(wanted, memory, progress, seen)


def _read_rows(
    uris: Sequence[str], rows: Sequence[int], memory: DigestMemory, progress: Progress
) -> Iterator[tuple[int, str | Quarantined]]:
    """Each row with its digest or why there is none; remembers on the way."""
    # Reading and hashing both release the interpreter lock; more threads than cores hide slow disks.
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as threads:
        for block in _blocks(rows, _REMEMBER_EVERY):
            good: list[tuple[str, Stamp, str]] = []
            for part in threads.map(lambda rows: _read_some(uris, rows), _blocks(block, _FILES_PER_TASK)):
                for row, stamp, digest in part:
                    if isinstance(digest, str):
                        good.append((uris[row], stamp, digest))
                    yield row, digest
                progress.advance(len(part))
            memory.remember([g[0] for g in good], [g[1] for g in good], [g[2] for g in good])


def _read_some(uris: Sequence[str], rows: Sequence[int]) -> list[tuple[int, Stamp, str | Quarantined]]:
    answers: list[tuple[int, Stamp, str | Quarantined]] = []
    for row in rows:
        try:
            data, stamp = read(uris[row])
            answers.append((row, stamp, digest_bytes(data)))
        except UnreadableError as error:
            answers.append((row, (0, 0), Quarantined(uri=error.uri, reason=error.reason)))
    return answers


def _equal_rows(digests: Sequence[str], uris: Sequence[str]) -> dict[str, list[int]]:
    """Rows of equal bytes by digest, two or more each, in order of address."""
    first: dict[str, int] = {}
    twins: dict[str, list[int]] = {}
    for row, digest in enumerate(digests):
        at = first.setdefault(digest, row)
        if at != row:
            twins.setdefault(digest, [at]).append(row)
    return {digest: sorted(rows, key=lambda row: (uris[row], row)) for digest, rows in twins.items()}


def _conflicts(listing: Listing, twins: dict[str, list[int]]) -> tuple[Conflict, ...]:
    """Equal bytes under different labels, in order of digest."""
    found: list[Conflict] = []
    every = listing.labels if listing.labels is not None else [None] * len(listing.uris)
    for digest, rows in sorted(twins.items()):
        said = [(listing.uris[row], label) for row in rows if (label := every[row])]
        if len({label for _, label in said}) > 1:
            uris, labels = zip(*said, strict=True)
            found.append(Conflict(digest=digest, uris=uris, labels=labels))
    return tuple(found)


def _merged(listing: Listing, digests: list[str], twins: dict[str, list[int]], conflicts: tuple[Conflict, ...]) -> Pool:
    """The pool in which equal bytes are one sample, named by its digest."""
    if not twins:
        return _pool(listing, digests, digests=digests)
    labels = None if listing.labels is None else list(listing.labels)
    groups = None if listing.groups is None else list(listing.groups)
    unsettled = {conflict.digest for conflict in conflicts}
    spare: set[int] = set()
    others: dict[str, tuple[str, ...]] = {}
    for digest, rows in twins.items():
        main, *rest = rows
        spare.update(rest)
        addresses = dict.fromkeys(listing.uris[row] for row in rest)
        addresses.pop(listing.uris[main], None)
        if addresses:
            others[digest] = tuple(addresses)
        if labels is not None:
            labels[main] = None if digest in unsettled else _first(labels, rows)
        if groups is not None:
            groups[main] = _first(groups, rows) or ""
    keep = [row for row in range(len(digests)) if row not in spare]
    noted = replace(
        listing, labels=labels, groups=groups, notes=(*listing.notes, f"{len(spare)} duplicates merged")
    ).take(keep)
    ids = [digests[row] for row in keep]
    return _pool(noted, ids, digests=ids, conflicts=conflicts, other_uris=others)


def _pool(
    listing: Listing,
    ids: Sequence[Any],
    *,
    digests: Sequence[str],
    conflicts: tuple[Conflict, ...] = (),
    other_uris: dict[str, tuple[str, ...]] | None = None,
) -> Pool:
    return Pool.from_columns(
        listing.name,
        ids,
        uris=listing.uris,
        digests=digests,
        labels=listing.labels,
        groups=listing.groups,
        other_uris=other_uris,
        quarantined=sorted(listing.quarantined, key=lambda q: (q.uri, q.reason)),
        conflicts=conflicts,
        notes=listing.notes,
    )


def _without(listing: Listing, broken: dict[int, Quarantined]) -> Listing:
    keep = [row for row in range(len(listing.uris)) if row not in broken]
    return replace(listing.take(keep), quarantined=(*listing.quarantined, *broken.values()))


def _pick(column: Sequence[T] | None, rows: Sequence[int]) -> list[T] | None:
    return None if column is None else [column[row] for row in rows]


def _first(column: Sequence[T], rows: Sequence[int]) -> T | None:
    """The first value that says something."""
    return next((value for row in rows if (value := column[row])), None)


def _blocks(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
