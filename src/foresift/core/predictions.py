"""What models said of a pool: named columns, each with its own producer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, as_ids, first_duplicate, first_nonfinite_row, frozen, is_ascending
from foresift.core.columns import missing_column
from foresift.core.digests import digest_array, digest_ids, digest_value
from foresift.core.errors import DataError, MissingColumnError, NonFiniteError


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """Everything that can change a column's values: the key of a store row, beside the content digest."""

    model: str
    """Digest of the weights and the architecture; ``user`` for arrays that a user brought."""
    transform: str = ""
    """Digest of the transform, decoder and its version included."""
    stage: str = "forward"
    engine: str = ""
    precision: str = ""
    batch: int = 0
    """Images a call: another batch size may round otherwise."""

    @property
    def digest(self) -> str:
        """40 hexadecimal characters; two producers with the same digest give the same values."""
        return digest_value(asdict(self))


USER = Producer(model="user", stage="given")
"""The producer of arrays that a user brought."""
POOL = Producer(model="pool", stage="given")
"""The producer of what a pool says of its samples: groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """n rows of values and where they come from."""

    values: npt.NDArray[Any]
    producer: Producer = USER


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Columns of n rows for n samples, in the order of ``sample_ids``."""

    sample_ids: Ids
    columns: Mapping[str, Column] = field(default_factory=dict)
    uris: npt.NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        n = len(self.sample_ids)
        if (twice := first_duplicate(self.sample_ids)) is not None:
            raise DataError(f"predictions: id {twice!r} occurs twice; ids must be distinct")
        for name, column in self.columns.items():
            if len(column.values) != n:
                raise DataError(f"predictions: {n} ids but {len(column.values)} rows of {name}")
            if column.values.dtype.kind == "f" and (bad := first_nonfinite_row(column.values)) is not None:
                sample = self.sample_ids[bad]
                raise NonFiniteError(
                    f"{name} of sample {str(sample)!r} are not finite; mend the model or drop the sample"
                )

    @classmethod
    def from_arrays(
        cls,
        ids: Sequence[Any] | npt.NDArray[Any],
        *,
        logits: npt.ArrayLike | None = None,
        embeddings: npt.ArrayLike | None = None,
        uris: Sequence[str] | None = None,
        producer: Producer = USER,
    ) -> Predictions:
        """Predictions from a user's own arrays; nothing is copied that is already an array.

        Args:
            ids: n distinct ids, integers or strings.
            logits: (n, c), finite, before softmax.
            embeddings: (n, d), finite.
            uris: n addresses.
        Raises:
            DataError: ids occur twice, or shapes differ.
            NonFiniteError: NaN or infinity; names the sample.
        """
        columns: dict[str, Column] = {}
        for name, given in (("logits", logits), ("embeddings", embeddings)):
            if given is None:
                continue
            values = np.asarray(given)
            if values.ndim != 2:
                raise DataError(f"{name} must have shape (n, width), got {values.shape}")
            if values.dtype.kind != "f":
                values = values.astype(np.float32)
            columns[name] = Column(values=frozen(values), producer=producer)
        addresses = None if uris is None else np.asarray(uris, dtype=np.str_)
        return cls(sample_ids=as_ids(ids), columns=columns, uris=addresses)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def column(self, name: str) -> npt.NDArray[Any]:
        """(n, ...) values of a column.

        Raises:
            MissingColumnError: no such column; says which there are.
        """
        if name not in self.columns:
            raise MissingColumnError(missing_column(name, self.columns))
        return self.columns[name].values

    def take(self, rows: npt.NDArray[np.intp]) -> Predictions:
        """The given rows, in the given order; whole-array requests share the memory."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self
        columns = {
            name: Column(values=frozen(column.values[rows]), producer=column.producer)
            for name, column in self.columns.items()
        }
        uris = None if self.uris is None else self.uris[rows]
        return Predictions(sample_ids=frozen(self.sample_ids[rows]), columns=columns, uris=uris)

    def digest(self, names: Sequence[str]) -> str:
        """Digest of the ids and of the named columns' values; independent of row order. O(bytes)."""
        ids = self.sample_ids
        order = None if is_ascending(ids) else np.argsort(ids, kind="stable")
        parts = {name: digest_array(self.column(name), rows=order) for name in sorted(names)}
        return digest_value({"ids": digest_ids(ids if order is None else ids[order]), **parts})
