"""Request and answer: what a strategy sees, what it picks, and the receipt of a selection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, Rows, Values, frozen
from foresift.core.columns import missing_column
from foresift.core.digests import digest_value
from foresift.core.errors import DataError, MissingColumnError
from foresift.core.matrices import RowMatrix
from foresift.core.predictions import Producer
from foresift.core.regions import split_id

RECEIPT_FORMAT = 2


class ColumnView(Mapping[str, npt.NDArray[Any]]):
    """Columns seen through row indices: copied when asked for, whole (once) or block by block."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], rows: Rows) -> None:
        self._arrays = arrays
        self._rows = rows
        self._gathered: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._gathered:
            self._gathered[name] = frozen(self._arrays[name][self._rows])
        return self._gathered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def matrix(self, name: str) -> RowMatrix:
        """The rows of a column, to be read in blocks; nothing is copied."""
        return RowMatrix(array=self._arrays[name], rows=self._rows)

    def only(self, names: Iterable[str]) -> ColumnView:
        """Some of the columns; nothing is copied."""
        return ColumnView({name: self._arrays[name] for name in names if name in self._arrays}, self._rows)

    def among(self, which: Rows) -> ColumnView:
        """The rows at the given positions; nothing is copied."""
        return ColumnView(self._arrays, self._rows[which])

    def plus(self, name: str, values: npt.NDArray[Any]) -> ColumnView:
        """With one more column, given for the rows that are seen; the others are not copied."""
        base = max((len(array) for array in self._arrays.values()), default=int(self._rows.max(initial=-1)) + 1)
        whole = np.zeros((base, *values.shape[1:]), dtype=values.dtype)
        whole[self._rows] = values
        return ColumnView({**self._arrays, name: frozen(whole)}, self._rows)

    def joined(self, other: ColumnView, order: Rows) -> ColumnView:
        """The rows of both, one after the other, put in ``order``; both look at the same arrays."""
        return ColumnView(self._arrays, np.concatenate([self._rows, other._rows])[order])

    def block(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` .. ``stop`` of a column; copies no others."""
        rows = self._rows[start:stop]
        if len(rows) and (np.diff(rows) == 1).all():  # most blocks, when few rows are left out: no copy
            return self._arrays[name][int(rows[0]) : int(rows[0]) + len(rows)]
        return self._arrays[name][rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a strategy sees: candidates in ascending order of id, labeled rows, a budget.

    Because rows are in order of id, "ties go by id" is "ties go to the lower row".
    """

    ids: Ids
    """(n,) candidates, ascending and distinct."""
    columns: Mapping[str, npt.NDArray[Any]]
    """Columns of the candidates, n rows each."""
    budget: int
    """Rows to pick, within 0 .. n."""
    labeled_ids: Ids
    """(m,) ids that are labeled already, ascending."""
    labeled_columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """The same columns for the labeled rows that have predictions, in order of ``labeled_ids``."""
    labeled_rows: Rows = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    """Positions within ``labeled_ids`` (and ``labels``) of the rows of ``labeled_columns``."""
    labels: npt.NDArray[np.int64] | None = None
    """(m,) class codes of the labeled rows, where known."""
    truth: npt.NDArray[np.int64] | None = None
    """(n,) class codes of the candidates themselves: studies and fully labeled pools only."""

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> npt.NDArray[Any]:
        """(n, ...) a column of the candidates.

        Raises:
            MissingColumnError: the query lacks it.
        """
        if name == "truth" and self.truth is not None:
            return self.truth
        if name not in self.columns:
            raise MissingColumnError(missing_column(name, self.columns))
        return self.columns[name]

    def matrix(self, name: str) -> RowMatrix:
        """(n, d) a column of the candidates, to be read in blocks as float32.

        Raises:
            MissingColumnError: the query lacks it.
        """
        return _matrix(self.columns, name) if name in self.columns else RowMatrix(array=self.column(name))

    def labeled_matrix(self, name: str) -> RowMatrix:
        """(m', d) the same column of the labeled rows that have predictions, in order of ``labeled_rows``."""
        return _matrix(self.labeled_columns, name)

    def seen_by(self, needs: Iterable[str], uses: Iterable[str] = ()) -> Query:
        """The same query with just what ``needs`` and ``uses`` name; nothing is copied."""
        names = {*needs, *uses}
        wanted = [name for name in self.columns if name in names]
        return replace(
            self,
            columns=_only(self.columns, wanted),
            labeled_columns=_only(self.labeled_columns, wanted),
            labels=self.labels if "labels" in names else None,
            truth=self.truth if "truth" in names else None,
        )

    def plus(self, name: str, values: npt.NDArray[Any]) -> Query:
        """The same query with one more column of the candidates, (n, ...) values; labeled rows get none."""
        return replace(self, columns=view_of(self.columns, len(self)).plus(name, values))

    def among(self, rows: Rows, *, budget: int) -> Query:
        """The query whose candidates are the given rows, ascending; nothing is copied."""
        if len(rows) == len(self):
            return replace(self, budget=budget)
        return replace(
            self,
            ids=frozen(self.ids[rows]),
            columns=view_of(self.columns, len(self)).among(rows),
            truth=None if self.truth is None else frozen(self.truth[rows]),
            budget=budget,
        )

    def beside(self, rows: Rows) -> Query:
        """The same candidates, with those at ``rows`` among the labeled rows too: they are as good as bought.

        They have no labels yet, so the result has none at all. Nothing is copied but indices.
        """
        if not len(rows):
            return self
        ids = np.concatenate([self.labeled_ids, self.ids[rows]])
        order = np.argsort(ids, kind="stable")
        held = np.concatenate([self.labeled_rows, len(self.labeled_ids) + np.arange(len(rows))])
        place = np.empty(len(ids), dtype=np.intp)
        place[order] = np.arange(len(ids))
        by_id = np.argsort(place[held], kind="stable")
        labeled, added = view_of(self.labeled_columns, len(self.labeled_rows)), view_of(self.columns, len(self))
        return replace(
            self,
            labeled_ids=frozen(ids[order]),
            labeled_columns=labeled.joined(added.among(rows), by_id),
            labeled_rows=place[held][by_id],
            labels=None,
        )

    def block(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` .. ``stop`` of a column, without holding the whole of it in memory."""
        if isinstance(self.columns, ColumnView) and name in self.columns:
            return self.columns.block(name, start, stop)
        return self.column(name)[start:stop]


def _only(columns: Mapping[str, npt.NDArray[Any]], names: list[str]) -> Mapping[str, npt.NDArray[Any]]:
    return columns.only(names) if isinstance(columns, ColumnView) else {n: columns[n] for n in names if n in columns}


def view_of(columns: Mapping[str, npt.NDArray[Any]], n: int) -> ColumnView:
    """Columns of n rows as a view; nothing is copied."""
    return columns if isinstance(columns, ColumnView) else ColumnView(columns, np.arange(n, dtype=np.intp))


def _matrix(columns: Mapping[str, npt.NDArray[Any]], name: str) -> RowMatrix:
    return columns.matrix(name) if isinstance(columns, ColumnView) else RowMatrix(array=columns[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Row indices of a query's candidates in pick order, as a strategy returns them."""

    rows: Rows
    scores: Values | None = None
    """(k,) score of each pick, where the strategy has one."""
    solver: str = "exact"
    """Which algorithm ran."""
    approx: str = ""
    """Empty when the result is exact; else which approximation was made and what it guarantees."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values worth keeping in the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One value a sample; higher always means more informative."""

    sample_ids: Ids
    values: Values
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Enough to replay a selection to the same ids, and to see at once what changed if it can't."""

    strategy: str
    """Canonical spelling, ``NAME`` or ``NAME:key=value,...``."""
    budget: int
    seed: int
    solver: str
    short: bool
    """True when there were fewer samples to pick than the budget."""
    n_candidates: int
    candidates: str
    """Digest of the candidates' ids."""
    n_labeled: int
    labeled: str
    """Digest of the labeled ids."""
    producers: Mapping[str, Producer]
    """Who made each column that was used."""
    selected: str
    """Digest of the selected ids in pick order."""
    approx: str = ""
    """Empty when exact; else which approximation was made and what it guarantees."""
    details: Mapping[str, Any] = field(default_factory=dict)
    guards: Mapping[str, Any] = field(default_factory=dict)
    """Limits, how many candidates each removed by reason, and what that cost; empty without guards."""
    control: Mapping[str, Any] = field(default_factory=dict)
    """Share, size, population and inclusion probability of the control arm; empty without one."""
    pool: Mapping[str, Any] = field(default_factory=dict)
    """Name, version, size and quarantine count of the pool; or the digest of a user's predictions."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Generation id and folder."""
    engine: Mapping[str, Any] = field(default_factory=dict)
    """Engine, batch size and the figures of the rank check."""
    foresift: str = ""
    format: int = RECEIPT_FORMAT

    @property
    def id(self) -> str:
        """Content digest of the receipt."""
        return digest_value(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Receipt:
        """Inverse of :meth:`to_dict`; ignores an ``id`` key.

        Raises:
            DataError: fields are missing or of another format.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in plain.items() if key in known}
        if values.get("format") != RECEIPT_FORMAT:
            raise DataError(
                f"not a receipt of this version: format {values.get('format')!r}, expected {RECEIPT_FORMAT}"
            )
        try:
            values["producers"] = {key: Producer(**value) for key, value in values["producers"].items()}
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(f"not a complete receipt: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Sample ids in pick order, their scores, and the receipt."""

    sample_ids: Ids
    scores: Values | None
    receipt: Receipt
    uris: npt.NDArray[np.str_] | None = None
    n_control: int = 0
    """So many of the first picks were drawn at random."""
    barred: Mapping[str, Ids] = field(default_factory=dict)
    """Candidates that a guard kept out, by reason; of those that nobody looked at, nothing is said."""

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def arms(self) -> list[str]:
        """``control`` or ``strategy`` for each pick."""
        return ["control"] * self.n_control + ["strategy"] * (len(self) - self.n_control)

    def rows(self) -> list[dict[str, Any]]:
        """``rank, id, uri, score, arm, label`` of every pick; ``label`` is empty, to be filled in.

        Of a region also ``left, top, width, height``.
        """
        scores = [None] * len(self) if self.scores is None else self.scores.tolist()
        uris = [""] * len(self) if self.uris is None else self.uris.tolist()
        picks = zip(self.sample_ids.tolist(), uris, scores, self.arms, strict=True)
        return [
            {"rank": rank, "id": sample, "uri": uri, "score": score, "arm": arm, "label": "", **_rectangle(sample)}
            for rank, (sample, uri, score, arm) in enumerate(picks, start=1)
        ]


def _rectangle(sample: Any) -> Mapping[str, int]:
    region = split_id(sample)[1]
    return {} if region is None else region._asdict()
