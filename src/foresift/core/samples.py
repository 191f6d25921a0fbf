"""Samples and pools: what may be looked at, and which version of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, as_ids, first_duplicate, frozen
from foresift.core.digests import digest_bytes, digest_value
from foresift.core.errors import DataError, LabelError
from foresift.core.regions import Region, split_id

UNLABELED = -1
"""The label code of a sample without a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image: a row of a pool, made on demand."""

    id: Any
    digest: str
    """Content digest of the bytes; empty while nobody had to read them."""
    uris: tuple[str, ...]
    label: str | None = None
    group: str | None = None

    @property
    def region(self) -> Region | None:
        """The rectangle of the image that the sample is; None where it is all of it."""
        return split_id(self.id)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What an oracle said of one sample."""

    sample_id: Any
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A file that is never ranked, and why."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Equal bytes under different labels."""

    digest: str
    uris: tuple[str, ...]
    labels: tuple[str, ...]

    def __str__(self) -> str:
        pairs = ", ".join(f"{u} = {v}" for u, v in zip(self.uris, self.labels, strict=True))
        return f"equal bytes, different labels: {pairs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A named version of many samples, columnar, in ascending order of id.

    Build one with :meth:`from_columns`; change gives a new pool with another ``version``.
    """

    name: str
    """Where the pool comes from; stays the same when images are added."""
    version: str
    ids: Ids
    """(n,) ascending, distinct."""
    digests: npt.NDArray[np.str_]
    """(n,) content digests; empty strings where no byte had to be read yet."""
    uris: npt.NDArray[np.str_]
    """(n,) the first address of each sample."""
    codes: npt.NDArray[np.int32]
    """(n,) indices into ``classes``; -1 = no label."""
    classes: tuple[str, ...] = ()
    groups: npt.NDArray[np.str_] | None = None
    other_uris: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Further addresses of equal bytes, by row."""
    quarantined: tuple[Quarantined, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()
    """What the source wants a person to know (files passed over, duplicates merged)."""

    @classmethod
    def from_columns(
        cls,
        name: str,
        ids: Sequence[Any] | npt.NDArray[Any],
        *,
        uris: Sequence[str] | npt.NDArray[Any],
        digests: Sequence[str] | npt.NDArray[Any] | None = None,
        labels: Sequence[str | None] | None = None,
        groups: Sequence[str] | None = None,
        other_uris: Mapping[Any, tuple[str, ...]] | None = None,
        quarantined: Sequence[Quarantined] = (),
        conflicts: Sequence[Conflict] = (),
        notes: Sequence[str] = (),
    ) -> Pool:
        """Pool of n samples from equally long columns in any order.

        Args:
            ids: n distinct ids.
            labels: n class names, None or "" = unlabeled.
            other_uris: further addresses, keyed by id.
        Raises:
            DataError: an id occurs twice or the columns differ in length.
        """
        raw = as_ids(ids)
        n = len(raw)
        for what, column in (("uris", uris), ("digests", digests), ("labels", labels), ("groups", groups)):
            if column is not None and len(column) != n:
                raise DataError(f"pool {name}: {n} ids but {len(column)} {what}")
        if (twice := first_duplicate(raw)) is not None:
            raise DataError(f"pool {name}: id {twice!r} stands for two different samples; ids must be distinct")
        order = np.argsort(raw, kind="stable")
        classes, codes = encode_labels(labels if labels is not None else [None] * n)
        sorted_ids = raw[order]
        rows = {value: row for row, value in enumerate(sorted_ids.tolist())} if other_uris else {}
        columns = {
            "ids": frozen(sorted_ids),
            "digests": frozen(_text(digests if digests is not None else [""] * n)[order]),
            "uris": frozen(_text(uris)[order]),
            "codes": frozen(codes[order]),
        }
        return cls(
            name=name,
            version=_version(**columns, classes=classes),
            **columns,
            classes=classes,
            groups=None if groups is None else frozen(_text(groups)[order]),
            other_uris={rows[key]: value for key, value in (other_uris or {}).items()},
            quarantined=tuple(quarantined),
            conflicts=tuple(conflicts),
            notes=tuple(notes),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Sample:
        code = int(self.codes[row])
        return Sample(
            id=self.ids[row].item(),
            digest=str(self.digests[row]),
            uris=(str(self.uris[row]), *self.other_uris.get(row, ())),
            label=self.classes[code] if code != UNLABELED else None,
            group=None if self.groups is None else str(self.groups[row]),
        )

    @property
    def labeled(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the sample has a label."""
        return np.not_equal(self.codes, UNLABELED)

    def rows_of(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """Rows of the given ids; -1 where the pool has no such id. O(m log n)."""
        wanted = as_ids(ids)
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1, dtype=np.intp)
        wanted = cast_ids(wanted, like=self.ids)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self) - 1)
        return np.where(self.ids[at] == wanted, at, -1).astype(np.intp)

    def take(self, rows: npt.NDArray[Any]) -> Pool:
        """The pool of the given rows (indices or a mask); columns only, no other change."""
        index = np.sort(np.flatnonzero(rows) if rows.dtype == np.bool_ else rows)
        ids, digests = frozen(self.ids[index]), frozen(self.digests[index])
        uris, codes = frozen(self.uris[index]), frozen(self.codes[index])
        return replace(
            self,
            ids=ids,
            digests=digests,
            uris=uris,
            codes=codes,
            version=_version(ids=ids, digests=digests, uris=uris, codes=codes, classes=self.classes),
            groups=None if self.groups is None else frozen(self.groups[index]),
            other_uris={new: self.other_uris[old] for new, old in enumerate(index.tolist()) if old in self.other_uris},
        )

    def with_labels(self, labels: Sequence[Label]) -> Pool:
        """A new version whose named samples carry the given labels; the other columns are shared.

        Raises:
            LabelError: a label names a sample that the pool lacks, or two labels of one
                sample contradict each other.
        """
        _refuse_contradictions(labels, pool=self.name)
        rows = self.rows_of([label.sample_id for label in labels])
        if (rows < 0).any():
            missing = labels[int(np.argmin(rows))].sample_id
            raise LabelError(f"pool {self.name}: no sample {missing!r} to label; labels name samples by id")
        names = [*self.classes, *(label.value for label in labels)]
        classes = tuple(sorted(set(names)))
        index = {value: code for code, value in enumerate(classes)}
        recode = np.array([*(index[value] for value in self.classes), UNLABELED], dtype=np.int32)
        codes = recode[self.codes]
        codes[rows] = [index[label.value] for label in labels]
        change = {"parent": self.version, "labels": sorted([str(x.sample_id), x.value] for x in labels)}
        return replace(self, codes=frozen(codes), classes=classes, version=digest_value(change))

    def without_labels(self) -> Pool:
        """The same samples with every label forgotten."""
        codes = np.full(len(self), UNLABELED, dtype=np.int32)
        change = {"parent": self.version, "labels": "none"}
        return replace(self, codes=frozen(codes), classes=(), version=digest_value(change))


def encode_labels(labels: Sequence[str | None]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Sorted class names and (n,) codes; None and "" become -1."""
    classes = tuple(sorted({value for value in labels if value}))
    index = {value: code for code, value in enumerate(classes)}
    codes = [index[value] if value else UNLABELED for value in labels]
    return classes, np.array(codes, dtype=np.int32).reshape(-1)


def cast_ids(ids: Ids, *, like: Ids) -> Ids:
    """``ids`` in the kind of ``like``, so that "7" from a CSV file finds the integer 7."""
    if ids.dtype.kind == like.dtype.kind:
        return ids
    if like.dtype.kind == "U":
        return ids.astype(np.str_)
    try:
        return ids.astype(np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"ids of the pool are 64-bit integers, but the given ids are not all such integers ({error})"
        ) from None


def _refuse_contradictions(labels: Sequence[Label], *, pool: str) -> None:
    said: dict[str, str] = {}
    for label in labels:
        first = said.setdefault(str(label.sample_id), label.value)
        if first != label.value:
            raise LabelError(f"pool {pool}: sample {label.sample_id!r} is labeled {first!r} and {label.value!r}")


def _text(values: Sequence[str] | npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    return np.asarray(values, dtype=np.str_).reshape(-1)


def _version(
    *,
    ids: Ids,
    digests: npt.NDArray[np.str_],
    uris: npt.NDArray[np.str_],
    codes: npt.NDArray[np.int32],
    classes: tuple[str, ...],
) -> str:
    """Digest of ids, contents and labels; addresses count only where no content digest is known."""
    identity = np.where(digests == "", uris, digests)
    lines = "\n".join(map("{}\t{}\t{}".format, ids.tolist(), identity.tolist(), codes.tolist()))
    return digest_bytes("\n".join([lines, *classes]).encode("utf-8", "surrogateescape"))
