"""Opening pools, and which of their samples are labeled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.app.workspace import Workspace
from foresift.core.arrays import Ids, frozen
from foresift.core.errors import EmptyPoolError, LabelError
from foresift.core.labels import CANNOT_TELL
from foresift.core.protocols import Arrivals, Progress
from foresift.core.samples import Pool
from foresift.cycle.labels import spelled_value
from foresift.sources import open_source
from foresift.sources.addresses import is_remote
from foresift.sources.labels import read_labels, resolve, resolve_ids
from foresift.sources.read import local_path
from foresift.sources.remote import remote
from foresift.sources.segmentation import images_beside_masks


class LabeledPart(NamedTuple):
    """What of a pool is labeled already."""

    ids: Ids
    """Ascending."""
    names: npt.NDArray[np.str_]
    """(m,) the class of each: what the file says, else the pool's own label, else ""."""
    notes: tuple[str, ...]
    """What a person should know of the file that says so."""


def open_pool(
    workspace: Workspace,
    spec: str | Path,
    *,
    need_digests: bool = True,
    progress: Progress | None = None,
    stdin: Iterable[str] | None = None,
    seen: Arrivals | None = None,
) -> Pool:
    """The pool behind a folder, manifest, bucket or ``-``; content digests are remembered in the workspace.

    What comes over a network is kept in the workspace as long as there is room.

    Args:
        seen: told of every remote sample as its bytes come in, where digests are needed.
    Raises:
        DataError: nothing there that can be listed.
        EmptyPoolError: no image at all, or only broken ones.
        UnreachableError: a host gives nothing at all.
    """
    remote().keep_in(workspace.cache / "spool")
    source = open_source(spec, stdin=stdin, progress=progress, seen=seen)
    pool = source.pool(workspace.digests(), need_digests=need_digests)
    if not len(pool):
        broken = pool.quarantined
        why = f"only broken files, the first {broken[0].uri}: {broken[0].reason}" if broken else "no images"
        raise EmptyPoolError(f"{pool.name}: {why}; expected a folder of images, a manifest or a list of addresses")
    return pool


def without_masks(spec: str | Path) -> tuple[str | Path, tuple[str, ...]]:
    """The pool to choose from, and a note where that is a part of what was given: masks are no images to label.

    Raises:
        UsageError: a root of images and masks in several splits.
    """
    folder = None if spec == "-" or is_remote(str(spec)) else images_beside_masks(Path(local_path(str(spec))))
    if folder is None:
        return spec, ()
    return folder, (f"{spec} holds masks beside its images; the pool is {folder}",)


def relabeled(pool: Pool, labels_file: str | Path | None) -> Pool:
    """The pool with the labels of a file in place of its own; the pool itself without a file.

    Labels of broken files are skipped, and so are answers that say ``cannot-tell``; notes say how many.

    Raises:
        LabelError: no label is filled in, or the file names unknown samples or contradicts itself.
    """
    if labels_file is None:
        return pool
    table = read_labels(labels_file)
    if not table.labeled:
        raise LabelError(f"{labels_file}: no label is filled in yet in {len(table):,} rows; fill in column label")
    named = resolve(pool, table)
    told = [label for label in named.labels if spelled_value(label.value) != CANNOT_TELL]
    notes = (
        *_skipped(labels_file, named.skipped, "broken files"),
        *_skipped(labels_file, len(named.labels) - len(told), "samples that nobody could tell"),
    )
    return replace(pool.without_labels().with_labels(told), notes=(*pool.notes, *notes))


def labeled_part(pool: Pool, labeled_file: str | Path | None, *, own_labels: bool) -> LabeledPart:
    """The samples that are labeled already.

    Args:
        labeled_file: names samples by id or uri. If any label is filled in, only rows with one
            count; which label it is does not matter here. Rows that name nothing that could be
            chosen are skipped; a note says how many.
        own_labels: whether labels in the pool itself count. They do in a manifest that labels
            some of its rows; a folder's class names, and a manifest that labels every row, are
            the truth of a pool that is treated as unlabeled. A sample whose labels contradict
            each other is no sign of a pool that is labeled in part.
    Raises:
        LabelError: the file names nothing in the pool.
    """
    ids, said, notes = _named(pool, labeled_file) if labeled_file is not None else (pool.ids[:0], (), ())
    contested = np.isin(pool.digests, [conflict.digest for conflict in pool.conflicts])
    if own_labels and pool.labeled.any() and not (pool.labeled | contested).all():
        every = np.union1d(ids, pool.ids[pool.labeled])
    else:
        every = ids
    return LabeledPart(frozen(every), _class_names(pool, every, dict(zip(ids.tolist(), said, strict=True))), notes)


def _class_names(pool: Pool, ids: Ids, said: dict[Any, str]) -> npt.NDArray[np.str_]:
    """(m,) class names: what a file said, else what the pool says."""
    own = np.array([*pool.classes, ""], dtype=np.str_)[pool.codes[pool.rows_of(ids)]]
    names = [said.get(sample) or name for sample, name in zip(ids.tolist(), own.tolist(), strict=True)]
    return np.array(names, dtype=np.str_)


def _named(pool: Pool, labeled_file: str | Path) -> tuple[Ids, tuple[str, ...], tuple[str, ...]]:
    ids, labels, skipped = resolve_ids(pool, read_labels(labeled_file))
    return ids, labels, _skipped(labeled_file, skipped, "broken files or samples that the pool lacks")


def _skipped(file: str | Path, rows: int, what: str) -> tuple[str, ...]:
    return (f"{rows} rows of {file} skipped: they name {what}",) if rows else ()
