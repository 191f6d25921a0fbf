from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from foresift.core.arrays import as_ids
from foresift.core.errors import DataError, MissingColumnError
from foresift.core.predictions import Predictions, Producer
from foresift.core.queries import ColumnView, Query, Receipt, Selection
from foresift.selection.candidates import build_query


def receipt(**change: Any) -> Receipt:
    fields: dict[str, Any] = {
        "strategy": "margin",
        "budget": 2,
        "seed": 0,
        "solver": "exact",
        "short": False,
        "n_candidates": 3,
        "candidates": "c",
        "n_labeled": 0,
        "labeled": "l",
        "producers": {"logits": Producer(model="m", precision="f32")},
        "selected": "s",
        "details": {"radius": 0.5},
    }
    return Receipt(**{**fields, **change})


def test_a_receipt_survives_json() -> None:
    text = json.dumps({"id": receipt().id, **receipt().to_dict()})
    assert Receipt.from_dict(json.loads(text)) == receipt()
    assert Receipt.from_dict(json.loads(text)).id == receipt().id


def test_a_receipts_id_is_its_content() -> None:
    assert receipt(seed=1).id != receipt().id
    assert receipt(producers={"logits": Producer(model="n", precision="f32")}).id != receipt().id


@pytest.mark.parametrize(
    ("change", "why"),
    [({"format": 9}, "format 9"), ({"producers": None}, "not a complete receipt"), ({"budget": ...}, "complete")],
)
def test_what_is_no_receipt_is_refused(change: dict[str, Any], why: str) -> None:
    plain = {key: value for key, value in {**receipt().to_dict(), **change}.items() if value is not ...}
    with pytest.raises(DataError, match=why):
        Receipt.from_dict(plain)


def test_rows_of_a_selection_have_an_empty_label_to_fill_in() -> None:
    selection = Selection(sample_ids=as_ids([7, 3]), scores=np.array([0.5, 0.25]), receipt=receipt())
    assert selection.rows() == [
        {"rank": 1, "id": 7, "uri": "", "score": 0.5, "arm": "strategy", "label": ""},
        {"rank": 2, "id": 3, "uri": "", "score": 0.25, "arm": "strategy", "label": ""},
    ]


def test_a_column_view_copies_what_is_asked_for_and_once() -> None:
    array = np.arange(10)
    view = ColumnView({"x": array}, np.array([7, 1, 3]))
    assert view.block("x", 1, 3).tolist() == [1, 3]
    assert view["x"].tolist() == [7, 1, 3]
    assert view["x"] is view["x"]
    assert (list(view), len(view)) == (["x"], 1)
    with pytest.raises(ValueError, match="read-only"):
        view["x"][0] = 1


def test_a_query_gives_columns_truth_and_blocks() -> None:
    truth = np.array([1, 0])
    query = Query(
        ids=as_ids(["a", "b"]), columns={"x": np.array([3, 4])}, budget=1, labeled_ids=as_ids([]), truth=truth
    )
    assert query.column("truth") is truth
    assert query.block("truth", 1, 2).tolist() == [0]
    assert query.block("x", 0, 1).tolist() == [3]
    with pytest.raises(MissingColumnError, match="needs the column y; the predictions have x"):
        query.column("y")


def wide_query() -> Query:
    from foresift.selection.candidates import build_query

    ids = [f"s{n}" for n in range(9)]
    data = Predictions.from_arrays(ids, logits=np.arange(18.0).reshape(9, 2), embeddings=np.arange(9.0)[:, None])
    return build_query(
        data, needs=("logits", "embeddings"), uses=("labels",), budget=3, labeled=["s7", "s1", "zz"], labels=[1, 0, 2]
    )


def test_a_part_of_a_query_sees_its_rows_and_columns_alone() -> None:
    query = wide_query().seen_by(("embeddings",)).among(np.array([1, 4]), budget=1)
    assert query.ids.tolist() == ["s2", "s5"]
    assert query.column("embeddings").tolist() == [[2], [5]]
    assert query.matrix("embeddings").whole().tolist() == [[2], [5]]
    assert list(query.columns) == list(query.labeled_columns) == ["embeddings"]
    assert query.labels is None
    assert query.labeled_columns["embeddings"].tolist() == [[1], [7]]


def test_rows_beside_the_labeled_ones_keep_the_order_of_ids() -> None:
    query = wide_query()
    more = query.beside(np.array([6, 2, 0]))
    assert more.labeled_ids.tolist() == ["s0", "s1", "s3", "s7", "s8", "zz"]
    assert more.labeled_rows.tolist() == [0, 1, 2, 3, 4]
    assert more.labeled_columns["embeddings"].ravel().tolist() == [0, 1, 3, 7, 8]
    assert more.labeled_matrix("embeddings").whole().ravel().tolist() == [0, 1, 3, 7, 8]
    assert more.labels is None
    assert query.labels is not None
    assert more.ids.tolist() == query.ids.tolist()


@pytest.mark.parametrize("labeled", [[], [1, 4]])
def test_a_column_can_be_added_and_follows_the_candidates(labeled: list[int]) -> None:
    pool = Predictions.from_arrays(np.arange(6), embeddings=np.eye(6, dtype="f4"))
    query = build_query(pool, needs=("embeddings",), budget=2, labeled=labeled)
    more = query.plus("doubled", 2.0 * query.ids[:, None])
    assert np.array_equal(more.column("doubled")[:, 0], 2.0 * query.ids)
    assert np.array_equal(more.matrix("doubled").block(1, 3), more.block("doubled", 1, 3))
    part = more.among(np.array([0, 2]), budget=1)
    assert np.array_equal(part.column("doubled")[:, 0], 2.0 * part.ids)
    assert np.array_equal(more.column("embeddings"), query.column("embeddings"))
    assert "doubled" not in query.columns
