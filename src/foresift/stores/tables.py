"""Exchange files: selections as CSV, JSON Lines or Parquet; predictions as Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foresift.core.errors import DataError, UsageError
from foresift.core.predictions import POOL, USER, Column, Predictions, Producer
from foresift.stores.files import disk_errors, write_atomically, write_text

SUFFIXES = (".csv", ".jsonl", ".parquet")
GROUP_ROWS = 16_384
"""Rows of a Parquet file that are in memory at once while it is written."""


def check_suffix(path: Path) -> None:
    """Refuse a table file of unknown kind, before any work.

    Raises:
        UsageError: the suffix is none of .csv, .jsonl, .parquet.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {path}: expected a file ending in {', '.join(SUFFIXES)}")


def rows_to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV text with a header; None becomes an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a table in the format of the suffix, whole or not at all.

    Raises:
        UsageError: unknown suffix.
        StoreError: the disk refuses.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_text(path, rows_to_csv(rows, columns))
    elif suffix == ".jsonl":
        write_text(
            path,
            "".join(json.dumps({c: row.get(c) for c in columns}, ensure_ascii=False) + "\n" for row in rows),
        )
    else:
        write_columns(path, {name: [row.get(name) for row in rows] for name in columns})


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write a Parquet table, whole or not at all; no row is made of a million.

    Raises:
        StoreError: the disk refuses.
    """
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    write_atomically(path, lambda target: pq.write_table(table, target))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write ``id, uri, logits, embedding`` as Parquet; the same predictions give the same bytes.

    Memory: that of ``GROUP_ROWS`` rows beside the predictions themselves.

    Raises:
        UsageError: the suffix is not .parquet.
        StoreError: the disk refuses.
    """
    if path.suffix.lower() != ".parquet":
        raise UsageError(f"--out {path}: predictions are written as .parquet")
    producers = {name: column.producer.digest for name, column in predictions.columns.items()}
    metadata = {"foresift.producers": json.dumps(producers, sort_keys=True)}
    schema = _group(predictions, slice(0, 0)).schema.with_metadata(metadata)

    def write(target: Path) -> None:
        with pq.ParquetWriter(target, schema) as writer:
            for start in range(0, len(predictions), GROUP_ROWS):
                group = _group(predictions, slice(start, start + GROUP_ROWS))
                writer.write_table(group.replace_schema_metadata(metadata))

    write_atomically(path, write)


def is_predictions(path: Path) -> bool:
    """Whether a file is a predictions file: Parquet with ``id`` and numbers, not a manifest of addresses."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    try:
        names = set(pq.read_schema(pa.OSFile(str(path))).names)
    except (pa.ArrowException, OSError):
        return False
    return "id" in names and bool({"logits", "embedding"} & names or "uri" not in names)


def read_predictions(path: Path) -> Predictions:
    """A user's predictions file: Parquet with ``id``, and as far as present ``uri, logits, embedding, group``.

    Raises:
        DataError: not Parquet, no ``id`` column, lists of unequal length.
    """
    with disk_errors(path):
        path.open("rb").close()  # says why a file can't be opened
        try:
            # Arrow's own file: its threads must not call into Python while the process ends.
            table = pq.read_table(pa.OSFile(str(path)))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None
    if "id" not in table.column_names:
        raise DataError(f"{path}: expected a column named id, got {', '.join(table.column_names) or 'none'}")
    _check_ids(path, table["id"])
    producer = Producer(model=f"file:{path.name}", stage="given") if path.name else USER
    matrices = {
        name: Column(values=_from_lists(path, field, table[field]), producer=producer)
        for name, field in (("logits", "logits"), ("embeddings", "embedding"))
        if field in table.column_names
    }
    predictions = Predictions.from_arrays(
        table["id"].to_pylist(),
        logits=matrices["logits"].values if "logits" in matrices else None,
        embeddings=matrices["embeddings"].values if "embeddings" in matrices else None,
        uris=[uri or "" for uri in table["uri"].to_pylist()] if "uri" in table.column_names else None,
        producer=producer,
    )
    if "group" not in table.column_names:
        return predictions
    names = np.array(["" if name is None else str(name) for name in table["group"].to_pylist()], dtype=np.str_)
    groups = Column(values=names, producer=POOL)
    return replace(predictions, columns={**predictions.columns, "groups": groups})


def _check_ids(path: Path, column: pa.ChunkedArray) -> None:
    if column.null_count:
        raise DataError(f"{path}: column id has {column.null_count} empty cells; every row needs an id")
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column id must hold integers or text, got {kind}")


def _group(predictions: Predictions, rows: slice) -> pa.Table:
    ids = predictions.sample_ids
    columns: dict[str, Any] = {"id": pa.array(ids[rows].tolist(), pa.int64() if ids.dtype.kind == "i" else pa.string())}
    if predictions.uris is not None:
        columns["uri"] = pa.array(predictions.uris[rows].tolist(), pa.string())
    for name, field in (("logits", "logits"), ("embeddings", "embedding")):
        if name in predictions.columns:
            columns[field] = _lists(predictions.column(name)[rows])
    return pa.table(columns)


def _lists(matrix: np.ndarray[Any, Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def _from_lists(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    if column.null_count:
        raise DataError(f"{path}: column {name} has {column.null_count} empty cells; every row needs a list of numbers")
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{path}: column {name} must hold lists of numbers, got {kind}")
    lengths = sorted(pc.unique(pc.list_value_length(column)).to_pylist())
    if len(lengths) > 1:
        raise DataError(f"{path}: the lists of column {name} differ in length: {lengths[:5]}")
    if not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise DataError(f"{path}: column {name} must hold numbers, got {kind}")
    arrays = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.float32)
    return flat.reshape(len(column), lengths[0] if lengths else 0)
