"""Exchange files: what was written is read, and what can't be read is named."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foresift.core.errors import DataError, NonFiniteError, StoreError, UsageError
from foresift.core.predictions import Predictions
from foresift.stores.tables import check_suffix, read_predictions, rows_to_csv, write_predictions, write_rows

COLUMNS = ("id", "uri", "score", "label")
NASTY = 'comma, "quote"\nnewline ä 漢'
ROWS: list[dict[str, Any]] = [
    {"id": "a", "uri": NASTY, "score": 0.1 + 0.2, "label": ""},
    {"id": "b", "uri": "/b.png", "score": 5e-324, "label": ""},
]
FIXED = pa.list_(pa.float32(), 2)


def predictions(ids: list[Any], **changes: Any) -> Predictions:
    rng = np.random.default_rng(0)
    logits, embeddings = (rng.normal(size=(len(ids), width)).astype(np.float32) for width in (3, 5))
    return Predictions.from_arrays(ids, **{"logits": logits, "embeddings": embeddings, **changes})


# ---- tables --------------------------------------------------------------------------------


def test_csv_and_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        write_rows(tmp_path / f"t.{suffix}", ROWS, COLUMNS)
    with (tmp_path / "t.csv").open(newline="") as file:
        from_csv = [{**row, "score": float(row["score"])} for row in csv.DictReader(file)]
    from_jsonl = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert from_csv == from_jsonl == pq.read_table(tmp_path / "t.parquet").to_pylist() == ROWS


def test_integer_ids_stay_integers_where_the_format_has_them(tmp_path: Path) -> None:
    rows = [{"id": 7, "uri": "", "score": None, "label": ""}]
    for suffix in ("jsonl", "parquet"):
        write_rows(tmp_path / f"t.{suffix}", rows, COLUMNS)
    assert json.loads((tmp_path / "t.jsonl").read_text())["id"] == 7
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == rows


def test_csv_leaves_none_empty_and_other_columns_out() -> None:
    text = rows_to_csv([{"id": 1, "score": None, "more": 2}], ("id", "score"))
    assert list(csv.reader(io.StringIO(text))) == [["id", "score"], ["1", ""]]


@pytest.mark.parametrize("name", ["t.txt", "t", "t.csv.gz", "csv"])
def test_an_unknown_suffix_is_refused(name: str, tmp_path: Path) -> None:
    for refuse in (check_suffix, lambda path: write_rows(path, ROWS, COLUMNS)):
        with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
            refuse(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", ["CSV", "JsonL", "PARQUET"])
def test_the_case_of_a_suffix_does_not_matter(suffix: str, tmp_path: Path) -> None:
    write_rows(tmp_path / f"t.{suffix}", ROWS, COLUMNS)
    assert (tmp_path / f"t.{suffix}").stat().st_size


# ---- predictions ---------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [["b", "a", "ä\n"], [3, 1, 2]])
def test_predictions_come_back_to_the_bit(ids: list[Any], tmp_path: Path) -> None:
    path, given = tmp_path / "p.parquet", predictions(ids, uris=["x", "y", NASTY])
    write_predictions(path, given)
    read = read_predictions(path)
    assert read.sample_ids.tolist() == ids
    assert read.uris is not None
    assert read.uris.tolist() == ["x", "y", NASTY]
    for name in ("logits", "embeddings"):
        np.testing.assert_array_equal(read.column(name), given.column(name))
    assert read.digest(["logits"]) == given.digest(["logits"])


def test_the_same_predictions_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_predictions(tmp_path / name, predictions(["x", "y"]))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_predictions_are_parquet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.parquet"):
        write_predictions(tmp_path / "p.csv", predictions(["x"]))


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), FIXED, pa.list_(pa.int64())])
def test_lists_of_any_kind_are_taken(kind: pa.DataType, tmp_path: Path) -> None:
    values = [[1, 2], [3, 4], [5, 6]]
    table = pa.table({"id": [1, 2, 3], "logits": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    assert read_predictions(tmp_path / "p.parquet").column("logits").tolist() == values


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"name": ["a"]}, "column named id, got name"),
        ({}, "column named id, got none"),
        ({"id": ["a", "b"], "logits": [[1.0, 2.0], [1.0]]}, "differ in length"),
        ({"id": ["a", "b"], "logits": [[1.0, 2.0, 3.0], [1.0]]}, "differ in length"),
        ({"id": ["a", "b"], "logits": [[1.0, 2.0], None]}, "1 empty cells"),
        ({"id": ["a", "b"], "logits": [1.0, 2.0]}, "lists of numbers"),
        ({"id": ["a", "b"], "logits": [["x"], ["y"]]}, "numbers"),
        ({"id": ["a", "b"], "embedding": [["x"], ["y"]]}, "embedding"),
        ({"id": ["a", "a"], "logits": [[1.0], [2.0]]}, "'a' occurs twice"),
        ({"id": ["a", None], "logits": [[1.0], [2.0]]}, "empty"),
        ({"id": [1, None], "logits": [[1.0], [2.0]]}, "empty"),
        ({"id": [1.5, 2.5], "logits": [[1.0], [2.0]]}, "id"),
        ({"id": pa.array([b"a"]), "logits": [[1.0]]}, "id"),
    ],
)
def test_a_predictions_file_of_another_form_is_named(columns: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=words) as told:
        read_predictions(path)
    assert "\n" not in str(told.value)


def test_a_null_in_a_list_is_not_a_number(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "logits": [[1.0, 2.0], [1.0, None]]}), tmp_path / "p.parquet")
    with pytest.raises(NonFiniteError, match="'b'"):
        read_predictions(tmp_path / "p.parquet")


def test_a_missing_uri_is_an_empty_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "uri": ["x", None], "logits": [[1.0], [2.0]]}), tmp_path / "p.parquet")
    uris = read_predictions(tmp_path / "p.parquet").uris
    assert uris is not None
    assert uris.tolist() == ["x", ""]


def test_no_rows_are_no_predictions(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "logits": pa.array([], FIXED)}), tmp_path / "p.parquet")
    assert len(read_predictions(tmp_path / "p.parquet")) == 0


@pytest.mark.parametrize("data", [b"", b"id,logits\n1,2\n", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(data)
    with pytest.raises((DataError, StoreError), match=r"p\.parquet"):
        read_predictions(path)


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions([str(n) for n in range(100)]))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((DataError, StoreError), match=r"p\.parquet"):
        read_predictions(path)
    with pytest.raises(StoreError, match="No such file"):
        read_predictions(tmp_path / "nothing.parquet")
