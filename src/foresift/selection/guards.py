"""What no selection may buy, whatever its strategy: copies, leaks from a validation set, too many of one kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from foresift.core.arrays import Ids, Rows
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.predictions import Predictions
from foresift.core.queries import Query
from foresift.core.samples import cast_ids
from foresift.kernels.cosine import nearer_than

REASONS: Mapping[str, str] = {
    "validation": "it is in the validation set, or too near to a sample of it",
    "near-labeled": "it is too near to a labeled sample",
    "near-pick": "it is too near to a sample that was picked before it",
    "group-full": "its group has as many picks as it may",
    "class-full": "its predicted class has as many picks as it may",
}
"""Why a candidate was passed over, by the names that receipts use."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Guards:
    """Limits on a selection; every one is off by default.

    Raises:
        UsageError: a limit that makes no sense.
    """

    min_distance: float | None = None
    """Cosine distance of embeddings, within (0, 2]: nothing nearer than this to a labeled sample,
    to a validation sample or to another pick is picked."""
    max_per_group: int | None = None
    """Picks of one selection from one group (video, site); samples without a group are free."""
    max_per_class: int | None = None
    """Picks of one selection from one predicted class."""
    validation: Predictions | None = None
    """Samples that must never be trained on: by id and, with ``min_distance``, by embedding."""
    refused: Ids | None = None
    """Ids that were found to be in the validation set already, by content."""

    def __post_init__(self) -> None:
        if self.min_distance is not None and not 0 < self.min_distance <= 2:
            raise UsageError(f"min_distance is a cosine distance within (0, 2], got {self.min_distance!r}")
        for name in ("max_per_group", "max_per_class"):
            most = getattr(self, name)
            if most is not None and (not isinstance(most, int | np.integer) or most < 1):
                raise UsageError(f"{name} must be a whole number, 1 or more, got {most!r}")

    @classmethod
    def of(cls, given: Guards | Mapping[str, Any] | None) -> Guards:
        """Guards from a mapping of their fields; none at all from None."""
        if isinstance(given, Guards):
            return given
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(given or {}) - set(known)):
            raise UsageError(f"unknown guard {unknown[0]!r} (known: {', '.join(known)})")
        return cls(**(given or {}))

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of the candidates that the limits are read from."""
        read = {"embeddings": self.min_distance, "groups": self.max_per_group, "logits": self.max_per_class}
        return tuple(name for name, limit in read.items() if limit is not None)

    @property
    def limits(self) -> dict[str, Any]:
        """The limits that are set, as plain values."""
        plain: dict[str, Any] = {} if self.min_distance is None else {"min_distance": float(self.min_distance)}
        counts = {"max_per_group": self.max_per_group, "max_per_class": self.max_per_class}
        return plain | {name: int(most) for name, most in counts.items() if most is not None}

    def __bool__(self) -> bool:
        return bool(self.limits) or self.validation is not None or self.refused is not None

    def settled(self, query: Query) -> Guards:
        """The same guards with the validation set replaced by the candidates that it refuses."""
        if self.validation is None and self.refused is None:
            return self
        return replace(self, validation=None, refused=query.ids[self._leaks(query)])

    def bars(self, query: Query) -> dict[str, Rows]:
        """Candidates that are out before anything is picked, ascending rows by reason; each under its first.

        Cost: O(n (m + v) d) for m labeled and v validation rows, in blocks.
        """
        out = np.zeros(len(query), dtype=np.bool_)
        found: dict[str, Rows] = {}
        for reason, mask in (("validation", self._leaks(query)), ("near-labeled", self._copies(query))):
            if (rows := np.flatnonzero(mask & ~out)).size:
                found[reason] = rows
            out |= mask
        return found

    def _leaks(self, query: Query) -> np.ndarray[Any, np.dtype[np.bool_]]:
        out = np.zeros(len(query), dtype=np.bool_)
        for ids in (self.refused, None if self.validation is None else self.validation.sample_ids):
            if ids is not None and len(ids):
                out |= np.isin(query.ids, _alike(ids, query.ids))
        if self.validation is not None and self.min_distance is not None:
            held_out = RowMatrix(array=self.validation.column("embeddings"))
            out |= nearer_than(_same_width(query, held_out), held_out, self.min_distance)
        return out

    def _copies(self, query: Query) -> np.ndarray[Any, np.dtype[np.bool_]]:
        if self.min_distance is None or not len(query.labeled_rows):
            return np.zeros(len(query), dtype=np.bool_)
        return nearer_than(query.matrix("embeddings"), query.labeled_matrix("embeddings"), self.min_distance)


NO_GUARDS = Guards()
_INTEGER = re.compile(r"-?[0-9]{1,19}")


def _alike(ids: Ids, like: Ids) -> Ids:
    """``ids`` in the kind of ``like``; those that can't be are none of them."""
    if ids.dtype.kind == "U" and like.dtype.kind == "i":
        whole = [text for text in ids.tolist() if _INTEGER.fullmatch(text) and abs(int(text)) < 2**63]
        ids = np.array(whole, dtype=np.str_)
    return cast_ids(ids, like=like) if len(ids) else like[:0]


def _same_width(query: Query, held_out: RowMatrix) -> RowMatrix:
    embeddings = query.matrix("embeddings")
    if embeddings.width != held_out.width:
        raise UsageError(
            f"the validation set's embeddings are {held_out.width} wide, those of the candidates"
            f" {embeddings.width}; both must come from the same model"
        )
    return embeddings
