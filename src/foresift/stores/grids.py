"""Patch grids in Lance: rows of any length, because images of one pool differ in size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foresift.core.predictions import Producer
from foresift.core.protocols import StoredGrids
from foresift.stores.checksums import row_sums
from foresift.stores.datasets import LanceDatasets, batches_of, reading

_BATCH_ROWS = 64
"""A row of a photograph takes some hundred kilobytes."""


class LanceGrids(LanceDatasets):
    """A :class:`foresift.core.protocols.GridStore` in a folder of the local disk; a checksum a row."""

    def read(
        self, producer: Producer, digests: npt.NDArray[np.str_]
    ) -> Iterator[tuple[npt.NDArray[np.intp], StoredGrids]]:
        """Some rows at a time, and at which places they were asked for.

        Rows that do not fit their checksums are dropped from the store, and ``DamagedRowsError`` says so.

        Raises:
            KeyError: a digest is not stored.
        """
        rows = self._rows(producer, digests)
        dataset = self._open(producer)
        if dataset is None:
            return
        names = ["digest", "reason", "height", "width", "values", "values_sum"]
        damaged: list[npt.NDArray[np.int64]] = []
        with reading(self._path(producer)):
            for at, batch in batches_of(dataset, rows, names, batch_rows=_BATCH_ROWS):
                stored = _grids(batch)
                bad = _sums(stored) != batch["values_sum"].to_numpy()
                if bad.any():
                    damaged.append(rows[at[bad]])
                else:
                    yield at, stored
        if damaged:
            self._drop(producer, dataset, np.concatenate(damaged))

    def append(self, producer: Producer, grids: StoredGrids) -> None:
        """Store rows in one atomic version.

        Raises:
            StoreError: full disk or a store that can't be written.
        """
        offsets = np.cumsum([0, *map(len, grids.values)], dtype=np.int32)
        flat = np.concatenate([np.empty(0, dtype=np.float32), *grids.values])
        table = pa.table(
            {
                "digest": pa.array(grids.digests.tolist(), pa.string()),
                "reason": pa.array(grids.reasons.tolist(), pa.string()),
                "height": pa.array(grids.sizes[:, 0]),
                "width": pa.array(grids.sizes[:, 1]),
                "values": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)),
                "values_sum": pa.array(_sums(grids)),
            }
        )
        self._append(producer, table)


def _grids(batch: pa.RecordBatch | pa.Table) -> StoredGrids:
    lists = batch["values"]
    whole = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    flat, offsets = whole.values.to_numpy(zero_copy_only=False), whole.offsets.to_numpy()
    return StoredGrids(
        digests=np.array(batch["digest"].to_pylist(), dtype=np.str_),
        reasons=np.array(batch["reason"].to_pylist(), dtype=np.str_),
        sizes=np.stack([batch["height"].to_numpy(), batch["width"].to_numpy()], axis=1),
        values=[flat[start:stop] for start, stop in pairwise(offsets.tolist())],
    )


def _sums(grids: StoredGrids) -> npt.NDArray[np.uint64]:
    """(n,) checksums of each row with its size."""
    sized = [np.concatenate([size, values]) for size, values in zip(grids.sizes, grids.values, strict=True)]
    sums = [row_sums(row.astype(np.float32)[None])[0] for row in sized]
    return np.array(sums, dtype=np.uint64)
