"""Rows for a predictions store; as a script, a process that appends them.

python storing.py ROOT {append-at-start FIRST COUNT | append-for-ever ROWS | append-until-full}
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from foresift.core.errors import StoreError
from foresift.core.predictions import Producer
from foresift.core.protocols import StoredRows
from foresift.stores.predictions import LanceStore

PRODUCER = Producer(model="model", engine="test")


def digests(start: int, stop: int) -> np.ndarray:
    return np.array([f"{n:040d}" for n in range(start, stop)], dtype="<U40")


def rows(start: int, stop: int) -> StoredRows:
    """Rows whose values follow from their number; every fifth is quarantined."""
    numbers = np.arange(start, stop)
    return StoredRows(
        digests=digests(start, stop),
        reasons=np.array(["broken" if n % 5 == 4 else "" for n in numbers], dtype=np.str_),
        logits=(numbers[:, None] * np.array([1.0, 0.5, -3.0])).astype(np.float32),
        embeddings=np.random.default_rng(1).normal(size=(stop, 4))[start:].astype(np.float32),
    )


def _append_at_start(store: LanceStore, first: str, count: str) -> None:
    print("ready", flush=True)
    sys.stdin.read()  # ends for all processes at once
    for n in range(int(first), int(first) + int(count)):
        store.append(PRODUCER, rows(n, n + 1))


def _append_for_ever(store: LanceStore, step: str) -> None:
    while True:
        done = len(store.known(PRODUCER))
        store.append(PRODUCER, rows(done, done + int(step)))
        print(done + int(step), flush=True)


def _append_until_full(store: LanceStore) -> None:
    store.append(PRODUCER, rows(0, 3))
    print("small: stored")
    try:
        store.append(PRODUCER, rows(3, 60_000))
    except StoreError as error:
        print(f"large: {error}")


if __name__ == "__main__":
    root, what, *more = sys.argv[1:]
    {"append-at-start": _append_at_start, "append-for-ever": _append_for_ever, "append-until-full": _append_until_full}[
        what
    ](LanceStore(Path(root)), *more)
