"""What models said of a pool: named columns, each with its own producer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, Logits, as_ids, first_duplicate, first_nonfinite_row, frozen, is_ascending
from foresift.core.columns import missing_column
from foresift.core.digests import digest_array, digest_ids, digest_value
from foresift.core.errors import DataError, MissingColumnError, NonFiniteError
from foresift.core.members import Members, State, consensus, state_of


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
            _check_finite(name, column.values, self.sample_ids)

    @classmethod
    def from_arrays(
        cls,
        ids: Sequence[Any] | npt.NDArray[Any],
        *,
        logits: npt.ArrayLike | None = None,
        embeddings: npt.ArrayLike | None = None,
        member_logits: npt.NDArray[Any] | Iterable[npt.ArrayLike] | None = None,
        members: State | None = None,
        uris: Sequence[str] | None = None,
        producer: Producer = USER,
    ) -> Predictions:
        """Predictions from a user's own arrays; nothing is copied that is already an array.

        Args:
            ids: n distinct ids, integers or strings.
            logits: (n, c), finite, before softmax.
            embeddings: (n, d), finite.
            member_logits: (e, n, c) finite logits of an ensemble, or (n, c) of one member after the other:
                an iterator is read once and never held. Gives the column ``members``
                (:mod:`foresift.core.members`) and, of one array, ``member-logits`` as an (n, e, c) view.
                Without ``logits``, these become the log of the mean probability: the consensus.
            members: (n,) a state that was made before, from the first ones or on another machine;
                ``member_logits`` extend it.
            uris: n addresses.
        Raises:
            DataError: ids occur twice, or shapes differ.
            NonFiniteError: NaN or infinity; names the sample.
        """
        sample_ids = as_ids(ids)
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
        for name, values in _of_members(member_logits, members, sample_ids).items():
            columns.setdefault(name, Column(values=frozen(values), producer=producer))
        addresses = None if uris is None else np.asarray(uris, dtype=np.str_)
        return cls(sample_ids=sample_ids, columns=columns, uris=addresses)

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


def _check_finite(name: str, values: npt.NDArray[Any], ids: Ids) -> None:
    if (bad := first_nonfinite_row(values)) is not None:
        raise NonFiniteError(f"{name} of sample {str(ids[bad])!r} are not finite; mend the model or drop the sample")


def _of_members(
    logits: npt.NDArray[Any] | Iterable[npt.ArrayLike] | None, start: State | None, ids: Ids
) -> dict[str, npt.NDArray[Any]]:
    """The columns that an ensemble gives: its state, the consensus as logits, an (n, e, c) view of one array."""
    if start is not None and len(Members(start)) != len(ids):
        raise DataError(f"predictions: {len(ids)} ids but {len(start)} rows of members")
    if logits is None:
        return {} if start is None else {"members": start, "logits": consensus(start)}
    state = state_of(_checked_members(logits, ids), start=start)
    columns: dict[str, npt.NDArray[Any]] = {"members": state, "logits": consensus(state)}
    if isinstance(logits, np.ndarray) and start is None:
        columns["member-logits"] = logits.transpose(1, 0, 2)
    return columns


def _checked_members(members: npt.NDArray[Any] | Iterable[npt.ArrayLike], ids: Ids) -> Iterator[Logits]:
    """(n, c) finite logits of one member after the other.

    Raises:
        DataError: another shape than n rows of the first member's classes.
        NonFiniteError: names the member and the sample.
    """
    if isinstance(members, np.ndarray) and members.ndim != 3:
        raise DataError(f"member_logits must have shape (e, n, c), got {members.shape}")
    expected: tuple[int, ...] | None = None
    numbers = count()  # enumerate would hold a member while the next one is loaded
    for given in members:
        number, logits = next(numbers), np.asarray(given)
        expected = (len(ids), *logits.shape[1:2]) if expected is None else expected
        if logits.ndim != 2 or logits.shape != expected:
            raise DataError(
                f"member_logits: member {number} has shape {logits.shape}, expected {len(ids)} rows of one width"
            )
        floats = logits if logits.dtype.kind == "f" else logits.astype(np.float32)
        _check_finite(f"logits of member {number}", floats, ids)
        yield floats
        del given, logits, floats
