"""From predictions and labeled ids to the query that a strategy sees."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, Rows, as_ids, frozen, is_ascending
from foresift.core.errors import BudgetError, MissingColumnError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import ColumnView, Query
from foresift.core.samples import cast_ids

LABEL_NEEDS = ("labels", "truth")
"""What a strategy may need that is no column of the predictions."""
POOL_COLUMNS = ("groups",)
"""Columns that a pool has of itself: no model makes them."""
Codes: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]


class Labeled(NamedTuple):
    """What is labeled already, in ascending order of id."""

    ids: Ids
    """(m,) distinct."""
    codes: npt.NDArray[np.int64] | None
    """(m,) class codes, where they were given."""


def build_query(
    predictions: Predictions,
    *,
    needs: tuple[str, ...],
    uses: tuple[str, ...] = (),
    budget: int,
    labeled: Iterable[Any] = (),
    labels: Codes | None = None,
    truth: Codes | None = None,
) -> Query:
    """The candidates in ascending order of id, with just the columns that are needed.

    No column is copied when the predictions are in order of id and nothing is labeled;
    otherwise columns are copied as they are asked for.

    Args:
        predictions: n rows.
        needs: names of columns; also ``labels`` and ``truth``.
        uses: ``labels`` where they are read if they are given.
        budget: 0 or more; cut to the number of candidates.
        labeled: m ids, in the predictions or not.
        labels: (m,) class codes in the order of ``labeled``.
        truth: (n,) class codes in the order of the predictions.
    Raises:
        BudgetError: negative budget.
        MissingColumnError: the predictions lack a column.
        UsageError: labels or truth are needed and not given, or not as long as they should be.
    """
    size = checked_budget(budget)
    columns = {name: predictions.column(name) for name in needs if name not in LABEL_NEEDS}
    known = labeled_of(labeled, labels, like=predictions.sample_ids)
    if "labels" in needs and known.codes is None:
        raise UsageError(
            "this strategy needs labels, the classes of the labeled samples; give a --labeled file whose label"
            " column is filled in, or in Python labels=, a class code for each labeled id"
        )
    rows, labeled_at, labeled_rows = _split(predictions.sample_ids, known.ids)
    whole = rows is None
    ids = predictions.sample_ids if rows is None else predictions.sample_ids[rows]
    return Query(
        ids=frozen(ids),
        columns=columns if whole else ColumnView(columns, _index(rows)),
        budget=min(size, len(ids)),
        labeled_ids=frozen(known.ids),
        labeled_columns=ColumnView(columns, labeled_at),
        labeled_rows=labeled_rows,
        labels=known.codes if "labels" in (*needs, *uses) else None,
        truth=_truth(truth, predictions, rows) if "truth" in needs else None,
    )


def model_columns(needs: Iterable[str]) -> list[str]:
    """The columns among ``needs`` that a model makes, each once."""
    return [name for name in dict.fromkeys(needs) if name not in (*LABEL_NEEDS, *POOL_COLUMNS)]


def checked_budget(budget: int) -> int:
    """``budget`` as a plain integer.

    Raises:
        BudgetError: negative, or not a whole number.
    """
    try:
        size = operator.index(budget)
    except TypeError:
        raise BudgetError(f"budget must be a whole number of labels, got {budget!r}") from None
    if size < 0:
        raise BudgetError(f"budget must be 0 or more labels, got {size}")
    return size


def labeled_of(labeled: Iterable[Any], labels: Codes | None, *, like: Ids) -> Labeled:
    """Labeled ids, ascending and distinct, in the kind of ``like``, with their class codes.

    Raises:
        UsageError: labels that are not one class code for each labeled id.
    """
    given = labeled if isinstance(labeled, np.ndarray) else list(labeled)
    raw = cast_ids(as_ids(given), like=like)
    ids, first = np.unique(raw, return_index=True)
    if labels is None:
        return Labeled(ids, None)
    codes = class_codes(labels, n=len(raw), what="labels", of="labeled ids")
    if len(ids) != len(raw):
        raise UsageError("an id occurs twice in the labeled ids; with labels they must be distinct")
    return Labeled(ids, codes[first])


def _split(ids: Ids, labeled: Ids) -> tuple[Rows | None, Rows, Rows]:
    """Candidate rows in order of id (None: all rows as they lie), and where labeled rows are.

    Returns:
        candidate rows; rows of the labeled samples that the predictions hold; positions of
        these within ``labeled``.
    """
    none = np.empty(0, dtype=np.intp)
    order = None if is_ascending(ids) else np.argsort(ids, kind="stable")
    if not len(labeled) or not len(ids):
        return order, none, none
    ordered = ids if order is None else ids[order]
    at = np.minimum(np.searchsorted(ordered, labeled), len(ids) - 1)
    held = np.flatnonzero(ordered[at] == labeled)
    if not len(held):
        return order, none, none
    keep = np.ones(len(ids), dtype=np.bool_)
    keep[at[held]] = False
    if order is None:
        return np.flatnonzero(keep), at[held], held
    return order[keep], order[at[held]], held


def _index(rows: Rows | None) -> Rows:
    return np.empty(0, dtype=np.intp) if rows is None else rows


def _truth(truth: Codes | None, predictions: Predictions, rows: Rows | None) -> npt.NDArray[np.int64]:
    if truth is None:
        raise UsageError(
            "this strategy needs truth, the labels of the candidates themselves: "
            "it serves studies and fully labeled pools only"
        )
    codes = class_codes(truth, n=len(predictions), what="truth", of="rows in the predictions")
    codes = codes if rows is None else codes[rows]
    if codes.size and codes.min() < 0:
        ids = predictions.sample_ids if rows is None else predictions.sample_ids[rows]
        raise UsageError(
            f"this strategy needs the true class of every candidate, and sample {str(ids[np.argmax(codes < 0)])!r} has "
            "none; on a pool that is not fully labeled take one that needs no truth (mutual-information, "
            "variation-ratios, predictive-entropy)"
        )
    return codes


def class_codes(codes: Codes, *, n: int, what: str, of: str) -> npt.NDArray[np.int64]:
    """(n,) class codes as integers; raises ``UsageError`` for another length or for names."""
    array = np.asarray(codes)
    if array.ndim != 1 or len(array) != n:
        raise UsageError(f"{what} must hold one class code for each of the {n} {of}, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise UsageError(f"{what} must be class codes (integers), got {array.dtype}")
    return frozen(array.astype(np.int64))


def producers_of(predictions: Predictions, needs: tuple[str, ...]) -> Mapping[str, Any]:
    """Who made each needed column of the predictions."""
    if missing := [name for name in needs if name not in LABEL_NEEDS and name not in predictions.columns]:
        raise MissingColumnError(f"the predictions have no {missing[0]}")
    return {name: predictions.columns[name].producer for name in needs if name not in LABEL_NEEDS}
