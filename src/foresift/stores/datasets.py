"""What all data sets in Lance share: one a producer, one append a shard, rows found by content digest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foresift.core.errors import DamagedRowsError, MissingExtraError, StoreError
from foresift.core.predictions import Producer
from foresift.stores.places import Place, place_at

try:
    import lance
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("storing predictions", "vision") from error

FORMAT = 2
"""Of the data sets, in their names: those of another format are not read."""
# Lance would hold gigabytes of coming batches.
_SMALL_READAHEAD = {"batch_readahead": 1, "fragment_readahead": 1, "io_buffer_size": 16 << 20}
_FULL = ("No space left", "os error 28", "os error 122", "File too large", "os error 27")


INDEX_BYTES = 256 << 20
"""What a store remembers of where rows lie; the index that was asked last stays however large it is."""


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the rows of one producer lie, in one version of its data set."""

    version: tuple[int, str]
    digests: npt.NDArray[np.str_]
    """Ascending and distinct."""
    rows: npt.NDArray[np.int64]

    @property
    def size_bytes(self) -> int:
        return self.digests.nbytes + self.rows.nbytes


class LanceDatasets:
    """Data sets with a column ``digest``, in a folder of the local disk or in a bucket.

    Each append is one Lance version, so a kill leaves whole shards only, and several
    processes may append at once. Rows are found by content digest through an index that is
    rebuilt when the version moves; memory O(stored rows x 170 bytes), for several producers
    together no more than :data:`INDEX_BYTES`. Any thread may ask.
    """

    def __init__(self, root: Path | str) -> None:
        self._place = place_at(root)
        self._indices: OrderedDict[str, _Index] = OrderedDict()
        self._reading = threading.Lock()
        """Of an index; ten who ask at once have it read once."""

    def known(self, producer: Producer) -> npt.NDArray[np.str_]:
        """Content digests stored for a producer, ascending and distinct."""
        return self._index(producer).digests

    def _rows(self, producer: Producer, digests: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
        """Where the rows of the given digests lie; raises ``KeyError`` for one that is not stored."""
        index = self._index(producer)
        names = index.digests
        at = np.minimum(np.searchsorted(names, digests), max(0, len(names) - 1))
        if len(digests) and (not len(names) or not np.array_equal(names[at], digests)):
            raise KeyError("a digest is not stored")
        return index.rows[at] if len(digests) else index.rows[:0]

    def _append(self, producer: Producer, table: pa.Table) -> None:
        """One atomic version; raises ``StoreError`` for a full disk or a store that can't be written."""
        try:
            self._write(producer, table)
        except (OSError, ValueError) as error:
            raise StoreError(_explain(error, self._place)) from error

    def _write(self, producer: Producer, table: pa.Table) -> None:
        name, place = self._name(producer), self._place
        if place.holds(name) or not place.create(name, table, asdict(producer)):
            lance.write_dataset(table, place.at(name), mode="append", storage_options=place.options)

    def _drop(self, producer: Producer, dataset: Any, rows: npt.NDArray[np.int64]) -> None:
        path = self._path(producer)
        with reading(path):
            names = dataset.take(np.unique(rows).tolist(), columns=["digest"])["digest"].to_pylist()
            dataset.delete(f"digest IN ({', '.join(repr(name) for name in names)})")
        raise DamagedRowsError(
            f"{len(names)} stored predictions in {path} were damaged on the disk and have been dropped; "
            "run the same command again, it infers them anew"
        )

    def _index(self, producer: Producer) -> _Index:
        dataset = self._open(producer)
        if dataset is None:
            return _Index((0, ""), np.empty(0, dtype="<U40"), np.empty(0, dtype=np.int64))
        with self._reading:
            known = self._indices.get(producer.digest)
            if known is None or known.version != _version(dataset):
                known = self._read_index(producer, dataset)
            self._remember(producer, known)
            return known

    def _read_index(self, producer: Producer, dataset: Any) -> _Index:
        with reading(self._path(producer)):
            column = dataset.to_table(columns=["digest"])["digest"].to_pylist()
        names, first = np.unique(np.asarray(column, dtype="<U40"), return_index=True)
        return _Index(_version(dataset), names, first)

    def _remember(self, producer: Producer, index: _Index) -> None:
        """Keep it, and of those before it as many as there is room for."""
        self._indices[producer.digest] = index
        self._indices.move_to_end(producer.digest)
        held = sum(one.size_bytes for one in self._indices.values())
        while held > INDEX_BYTES and len(self._indices) > 1:
            held -= self._indices.popitem(last=False)[1].size_bytes

    def _open(self, producer: Producer) -> Any | None:
        if not self._place.holds(self._name(producer)):
            return None
        path = self._path(producer)
        with reading(path):
            return lance.dataset(path, storage_options=self._place.options)

    def _path(self, producer: Producer) -> str:
        return self._place.at(self._name(producer))

    def _name(self, producer: Producer) -> str:
        return f"{producer.digest}.{FORMAT}.lance"


def _version(dataset: Any) -> tuple[int, str]:
    """Of this data set and no other: one that was deleted and made anew counts from 1 again, in other files."""
    first = next(iter(dataset.get_fragments()), None)
    return dataset.version, "" if first is None else str(first.metadata.files[0].path)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what Lance says of torn and missing files into one clear line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise StoreError(
            f"the predictions store {path} is damaged ({_first_line(error)}); it is a cache: delete it and run again"
        ) from error


def batches_of(
    dataset: Any, rows: npt.NDArray[np.int64], columns: list[str], *, batch_rows: int
) -> Iterator[tuple[npt.NDArray[np.intp], pa.RecordBatch | pa.Table]]:
    """Some of the asked rows at a time, and at which places they were asked for; rows are read in ascending order."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    if len(rows) * 2 < dataset.count_rows():
        for start in range(0, len(rows), batch_rows):
            part = slice(start, start + batch_rows)
            yield order[part], dataset.take(ascending[part].tolist(), columns=columns)
        return
    first = 0
    for batch in dataset.to_batches(columns=columns, batch_size=batch_rows, **_SMALL_READAHEAD):
        low, high = np.searchsorted(ascending, [first, first + len(batch)])
        yield order[low:high], batch.take(pa.array(ascending[low:high] - first))
        first += len(batch)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200]


def _explain(error: BaseException, root: Place) -> str:
    if any(mark in str(error) for mark in _FULL):
        return (
            f"no space left on the disk of {root}; free some and run the same command again: finished shards are kept"
        )
    return f"can't write predictions to {root}: {_first_line(error)}"
