"""Reading and writing predictions takes the memory of the matrix and a few batches."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foresift.core.predictions import Predictions
from foresift.stores import predictions as lance_store
from foresift.stores import tables
from foresift.stores.predictions import LanceStore
from foresift.stores.tables import read_predictions, write_predictions
from storing import PRODUCER, digests, rows

pytestmark = pytest.mark.timeout(600)


def many(count: int, width: int) -> Predictions:
    values = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return Predictions.from_arrays(np.arange(count), logits=values[:, :2], embeddings=values)


def test_cells_of_lists_never_become_python_objects(tmp_path: Path) -> None:
    given = many(4000, 200)
    embeddings = given.column("embeddings")
    table = pa.table({"id": np.arange(4000), "embedding": pa.array(list(embeddings))})
    pq.write_table(table, tmp_path / "p.parquet")
    del table
    tracemalloc.start()
    read = read_predictions(tmp_path / "p.parquet").column("embeddings")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(read, embeddings)
    assert peak < 3 * embeddings.nbytes


def test_a_file_is_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "GROUP_ROWS", 30)
    given = many(100, 5)
    for name in ("a.parquet", "b.parquet"):
        write_predictions(tmp_path / name, given)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [30, 30, 30, 10]
    assert b"foresift.producers" in file.schema_arrow.metadata
    np.testing.assert_array_equal(read_predictions(tmp_path / "a.parquet").column("logits"), given.column("logits"))


@pytest.mark.parametrize("ids", [np.empty(0, dtype=np.int64), np.empty(0, dtype="<U4")])
def test_no_predictions_are_written_and_read(ids: np.ndarray, tmp_path: Path) -> None:
    empty = Predictions.from_arrays(ids, logits=np.empty((0, 3), dtype=np.float32))
    write_predictions(tmp_path / "p.parquet", empty)
    assert len(read_predictions(tmp_path / "p.parquet")) == 0


@pytest.mark.parametrize("count", [100, 60, 20, 1, 0])
def test_rows_come_in_the_order_asked_for_whatever_the_batches(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_store, "_BATCH_ROWS", 7)
    store = LanceStore(tmp_path)
    for start in range(0, 100, 25):
        store.append(PRODUCER, rows(start, start + 25))
    order = np.random.default_rng(count).permutation(100)[:count]
    order = np.concatenate([order, order[:3]])  # some are asked for twice
    got, expected = store.read(PRODUCER, digests(0, 100)[order], columns=("logits", "embeddings")), rows(0, 100)
    assert expected.logits is not None
    assert expected.embeddings is not None
    np.testing.assert_array_equal(got.logits, expected.logits[order])
    np.testing.assert_array_equal(got.embeddings, expected.embeddings[order])
    assert got.reasons.tolist() == expected.reasons[order].tolist()


READ_ALL = """
import sys
from pathlib import Path
from foresift.core.predictions import Producer
from foresift.stores.predictions import LanceStore
store, producer = LanceStore(Path(sys.argv[1])), Producer(model="m")
names = store.known(producer)[::-1]
store.read(producer, names, columns=("logits",))

def peak_bytes():  # ru_maxrss would begin with the peak of the process that runs the tests
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024

before = peak_bytes()
matrix = store.read(producer, names, columns=("embeddings",)).embeddings
print((peak_bytes() - before) / matrix.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_whole_store_is_read_in_little_more_than_its_matrix(tmp_path: Path) -> None:
    store, producer = LanceStore(tmp_path), lance_store.Producer(model="m")
    embeddings = np.random.default_rng(0).normal(size=(4000, 2048)).astype(np.float32)
    for start in range(0, 40_000, 4000):
        names = np.array([f"{row:040d}" for row in range(start, start + 4000)])
        columns = {"logits": embeddings[:, :2], "embeddings": embeddings}
        store.append(producer, lance_store.StoredRows(digests=names, reasons=np.full(4000, ""), **columns))
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(done.stdout) < 2.4  # matrices of peak memory
