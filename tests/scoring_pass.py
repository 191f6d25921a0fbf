"""A pass over image files with a small exact engine; as a script, one process among several.

    python scoring_pass.py FOLDER STORE {run | kill-at-call N | kill-after-append N | meet FIFO r|w}

prints how many images it inferred.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foresift.core.arrays import Pixels
from foresift.core.generations import Transform
from foresift.core.predictions import Producer
from foresift.core.protocols import Outputs, StoredRows
from foresift.core.samples import Pool
from foresift.inference.pipeline import ForwardPass, PassReport, Tools, run_pass
from foresift.inference.transform import load
from foresift.sources import open_source
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.read import fetch
from foresift.stores.claims import FileClaims
from foresift.stores.predictions import LanceStore
from images import png

SIZE = 8
PRODUCER = Producer(model="exact", transform="8", engine="numpy", precision="i64")


class ExactEngine:
    """Integer arithmetic: a row's outputs depend on nothing but its pixels."""

    name, precision, version = "numpy", "i64", "1"

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._body = rng.integers(-9, 10, (SIZE * SIZE * 3, 5))
        self._head = rng.integers(-9, 10, (5, 3))

    def __call__(self, batch: Pixels) -> Outputs:
        embeddings = batch.reshape(len(batch), -1).astype(np.int64) @ self._body
        return Outputs((embeddings @ self._head).astype(np.float32), embeddings.astype(np.float32))


def write_images(folder: Path, n: int) -> Path:
    """``n`` different PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        pixels = np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        (folder / f"{index:04d}.png").write_bytes(png(pixels))
    return folder


def pool_of(folder: Path) -> Pool:
    return open_source(folder).pool(DictDigestMemory(), need_digests=True)


def job_of(pool: Pool, *, batch: int = 4, shard_rows: int = 16) -> ForwardPass:
    return ForwardPass(
        producer=PRODUCER, digests=pool.digests, uris=pool.uris, batch=batch, size=SIZE, shard_rows=shard_rows
    )


def tools_of(root: Path, **changes: Any) -> Tools:
    """Real parts over a store in ``root``, some of them changed."""
    tools = Tools(
        fetch=fetch,
        load=lambda data: load(data, Transform(size=SIZE)),
        engine=ExactEngine,
        store=LanceStore(root / "predictions"),
        claims=lambda identity, shards: FileClaims(root / "claims" / identity, shards),
    )
    return dataclasses.replace(tools, **changes)


def score(folder: Path, root: Path, **changes: Any) -> PassReport:
    return run_pass(job_of(pool_of(folder)), tools_of(root, **changes))


def stored(folder: Path, root: Path) -> StoredRows:
    """Everything that the store holds of a folder, in order of digest."""
    return LanceStore(root / "predictions").read(PRODUCER, pool_of(folder).digests, columns=("logits", "embeddings"))


def same(first: StoredRows, second: StoredRows) -> bool:
    """Whether rows are equal to the last bit."""
    pairs = zip(dataclasses.astuple(first), dataclasses.astuple(second), strict=True)
    return all(a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in pairs)


def watched(before: Callable[[int], None]) -> type[ExactEngine]:
    """The engine, with something done before its n-th call, from 1."""

    class Watched(ExactEngine):
        calls = 0

        def __call__(self, batch: Pixels) -> Outputs:
            self.calls += 1
            before(self.calls)
            return super().__call__(batch)

    return Watched


def _kill_at(moment: int) -> Callable[[int], None]:
    return lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == moment else None


class _DiesAfterAppend(LanceStore):
    moment, appends = 0, 0

    def append(self, producer: Producer, rows: StoredRows) -> None:
        super().append(producer, rows)
        self.appends += 1
        _kill_at(self.moment)(self.appends)


def _meet(fifo: str, mode: str) -> Callable[[int], None]:
    """At the first call wait for the other process: opening a pipe needs two."""
    return lambda n: Path(fifo).open(mode + "b").close() if n == 1 else None


def _changes(root: Path, what: str, *more: str) -> dict[str, Any]:
    if what == "kill-at-call":
        return {"engine": watched(_kill_at(int(more[0])))}
    if what == "kill-after-append":
        store = _DiesAfterAppend(root / "predictions")
        store.moment = int(more[0])
        return {"store": store}
    return {"engine": watched(_meet(*more))} if what == "meet" else {}


if __name__ == "__main__":
    folder, root = Path(sys.argv[1]), Path(sys.argv[2])
    print(score(folder, root, **_changes(root, *sys.argv[3:])).inferred)
