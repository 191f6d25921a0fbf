"""Predictions in Lance: rows of fixed width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foresift.core.predictions import Producer
from foresift.core.protocols import StoredRows
from foresift.stores.checksums import row_sums
from foresift.stores.datasets import LanceDatasets, batches_of, reading

_BATCH_ROWS = 2048


class LanceStore(LanceDatasets):
    """A :class:`foresift.core.protocols.PredictionStore` in a folder of the local disk.

    Lance itself notices torn files but no flipped bits: each matrix has a checksum a row, looked at
    whenever the row is read.
    """

    def read(self, producer: Producer, digests: npt.NDArray[np.str_], *, columns: Sequence[str]) -> StoredRows:
        """Rows in the order asked for; raises ``KeyError`` for a digest that is not stored.

        Rows that do not fit their checksums are dropped from the store, and ``DamagedRowsError`` says so.

        Reads the asked columns, of the asked rows only where these are less than half. Memory: the
        arrays that are given back and a few batches.
        """
        reasons, matrices = self._take(producer, self._rows(producer, digests), columns)
        return StoredRows(
            digests=digests,
            reasons=reasons,
            logits=matrices.get("logits"),
            embeddings=matrices.get("embeddings"),
        )

    def append(self, producer: Producer, rows: StoredRows) -> None:
        """Store rows in one atomic version.

        Raises:
            StoreError: full disk or a store that can't be written.
        """
        assert rows.logits is not None  # noqa: S101 - the protocol's contract
        assert rows.embeddings is not None  # noqa: S101
        table = pa.table(
            {
                "digest": pa.array(rows.digests.tolist(), pa.string()),
                "reason": pa.array(rows.reasons.tolist(), pa.string()),
                "logits": _fixed(rows.logits),
                "embeddings": _fixed(rows.embeddings),
                "logits_sum": pa.array(row_sums(rows.logits)),
                "embeddings_sum": pa.array(row_sums(rows.embeddings)),
            }
        )
        self._append(producer, table)

    def _take(
        self, producer: Producer, rows: npt.NDArray[np.int64], columns: Sequence[str]
    ) -> tuple[npt.NDArray[np.str_], dict[str, npt.NDArray[np.float32]]]:
        """Reasons and matrices of the given rows, in the given order."""
        dataset = self._open(producer)
        if dataset is None:
            return np.empty(0, dtype=np.str_), {name: np.empty((0, 0), dtype=np.float32) for name in columns}
        with reading(self._path(producer)):
            reasons = np.empty(len(rows), dtype=object)
            widths = {name: dataset.schema.field(name).type.list_size for name in columns}
            matrices = {name: np.empty((len(rows), width), dtype=np.float32) for name, width in widths.items()}
            damaged = np.zeros(len(rows), dtype=bool)
            names = ["reason", *columns, *(f"{name}_sum" for name in columns)]
            for at, batch in batches_of(dataset, rows, names, batch_rows=_BATCH_ROWS):
                reasons[at] = batch["reason"].to_pylist()
                for name, matrix in matrices.items():
                    matrix[at] = values = _values(batch[name])
                    damaged[at] |= row_sums(values) != batch[f"{name}_sum"].to_numpy()
        if damaged.any():
            self._drop(producer, dataset, rows[damaged])
        return reasons.astype(np.str_), matrices


def _fixed(matrix: npt.NDArray[np.float32]) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def _values(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """(b, width) float32 of b fixed-size lists."""
    whole = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    values: npt.NDArray[np.float32] = whole.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), column.type.list_size)
