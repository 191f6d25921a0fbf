"""Subsets of a labeled set: which samples a search kept, and how it came to them; what any later training takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids
from foresift.core.digests import digest_value
from foresift.core.errors import DataError
from foresift.core.samples import Pool

SUBSET_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Samples of a labeled set by id, with the digest of their contents."""

    ids: tuple[Any, ...]
    """Ascending, distinct."""
    hash: str
    """Digest of the ids and of the contents of these samples."""
    data: Mapping[str, Any]
    """``name`` and ``version`` of what was searched, ``labels`` if they came from a file."""
    of: int
    """Samples that could have been taken."""
    scheme: str
    score: str = ""
    """Strategy and parameters; empty where chance chose."""
    members: tuple[Mapping[str, Any], ...] = ()
    """Who scored: ``generation``, ``checkpoint``, ``weights``, ``architecture``."""
    seed: int = 0
    outliers: float = 0.0
    """Share of the set whose largest scores were passed over."""
    parent: str = ""
    """Hash of the subset that this one grew from."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.ids)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the ids come last."""
        plain = asdict(self)
        ids = plain.pop("ids")
        return {"format": SUBSET_FORMAT, "kind": "subset", "size": self.size, **plain, "ids": list(ids)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Subset:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: another kind or format, fields missing, or ids that occur twice.
        """
        if plain.get("kind") != "subset" or plain.get("format") != SUBSET_FORMAT:
            raise DataError(f"expected a subset of format {SUBSET_FORMAT}, as foresift search writes it")
        known = {f.name for f in fields(cls)}
        try:
            values = {key: value for key, value in plain.items() if key in known}
            made = cls(**values | {"ids": tuple(plain["ids"]), "members": tuple(plain.get("members", ()))})
        except (KeyError, TypeError) as error:
            raise DataError(f"not a complete subset: {error}") from None
        if len(set(made.ids)) != len(made.ids) or made.size != plain.get("size"):
            raise DataError(
                f"a subset of {plain.get('size')} samples lists {len(set(made.ids))} of them; make it again"
            )
        return made

    def within(self, pool: Pool) -> Pool:
        """These samples of a pool, with its labels.

        Raises:
            DataError: the pool lacks some, or their contents are others than those that were chosen.
        """
        rows = pool.rows_of(list(self.ids))
        if (rows < 0).any():
            missing = self.ids[int(np.argmin(rows))]
            raise DataError(
                f"{pool.name} lacks {int((rows < 0).sum())} of the {self.size} samples of the subset, first "
                f"{missing!r}; give the data that were searched ({self.data.get('name', '')})"
            )
        some = pool.take(rows)
        if hash_of(some.ids, some.digests) != self.hash:
            raise DataError(
                f"the subset's samples in {pool.name} have other contents than those that were chosen; "
                "put the images back, or search again"
            )
        return some


def hash_of(ids: Ids, digests: npt.NDArray[np.str_]) -> str:
    """Digest of samples: ids and contents, in whatever order they come.

    Args:
        ids: (n,)
        digests: (n,) of their contents.
    """
    pairs: Sequence[tuple[str, str]] = sorted(zip(map(str, ids.tolist()), digests.tolist(), strict=True))
    return digest_value([list(pair) for pair in pairs])
