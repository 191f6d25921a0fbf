"""Predictions in a bucket of a real S3-compatible server: as in a folder, for several machines at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from foresift.app.workspace import Workspace, place_below
from foresift.core.errors import StoreError, UsageError
from foresift.core.predictions import Producer
from foresift.core.protocols import StoredRows
from foresift.stores.predictions import LanceStore
from installed import installed_command
from s3_server import VARIABLE, S3Server

PRODUCER = Producer(model="m")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    server = S3Server(installed_command(VARIABLE, what="S3 server", target="s3"))
    server.put("bucket")
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def rows(first: int, count: int) -> StoredRows:
    rng = np.random.default_rng(first)
    return StoredRows(
        digests=np.array([f"{n:040d}" for n in range(first, first + count)]),
        reasons=np.array([""] * count),
        logits=rng.standard_normal((count, 3)).astype(np.float32),
        embeddings=rng.standard_normal((count, 2)).astype(np.float32),
    )


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_rows_come_back_to_the_bit_from_several_writers(kind: str, bucket: None, tmp_path: Path) -> None:
    address = str(tmp_path / "predictions") if kind == "folder" else "s3://bucket/team/predictions"
    assert LanceStore(address).known(PRODUCER).tolist() == []
    parts = [rows(at, 10) for at in range(0, 80, 10)]
    with ThreadPoolExecutor(8) as writers:  # the first versions of all of them at once
        list(writers.map(lambda part: LanceStore(address).append(PRODUCER, part), parts))
    store = LanceStore(address)
    assert store.known(PRODUCER).tolist() == [digest for part in parts for digest in part.digests.tolist()]
    for part in parts:
        found = store.read(PRODUCER, part.digests[::-1], columns=("logits", "embeddings"))
        assert found.logits is not None
        assert part.logits is not None
        assert found.logits.tobytes() == np.ascontiguousarray(part.logits[::-1]).tobytes()


def test_a_bucket_that_is_not_there_is_one_line(bucket: None) -> None:
    with pytest.raises(StoreError, match="s3://absent/predictions"):
        LanceStore("s3://absent/predictions").append(PRODUCER, rows(0, 2))


def test_the_workspace_keeps_predictions_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESIFT_STORE_URL", str(tmp_path / "shared"))
    Workspace.open(tmp_path / "a").predictions().append(PRODUCER, rows(0, 2))
    assert len(Workspace.open(tmp_path / "b").predictions().known(PRODUCER)) == 2
    assert not len(Workspace.open(tmp_path / "c", store=str(tmp_path / "own")).predictions().known(PRODUCER))
    assert place_below(tmp_path, "own") == str(tmp_path / "own")
    assert (place_below(tmp_path, "s3://bucket/x"), place_below(tmp_path, None)) == ("s3://bucket/x", "")
    with pytest.raises(UsageError, match="expected a folder or s3://"):
        Workspace.open(tmp_path / "a", store="ftp://host/x").predictions()
