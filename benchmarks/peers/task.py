"""What every peer is asked, and how its answer is timed and written: no library but NumPy.

Run as ``python run_PEER.py METHOD FOLDER BUDGET SEED``. The folder holds ``embeddings.npy``
(n, d), ``logits.npy`` (n, c), ``head.npy`` (d + 1, c), ``labeled.npy`` (m,) rows, ``labels.npy``
(m,) and ``members.npy`` (e, n, c); the answer goes to standard output as one line of JSON with
the seconds of the selection call alone, and the picked rows to ``picks-PEER-METHOD.npy``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Task:
    """Arrays on disk, loaded before the clock starts."""

    folder: Path
    budget: int
    seed: int

    def array(self, name: str) -> np.ndarray:
        """A whole array in memory."""
        return np.load(self.folder / f"{name}.npy")

    @property
    def unlabeled(self) -> np.ndarray:
        """Rows that may be picked."""
        return np.setdiff1d(np.arange(len(self.array("logits"))), self.array("labeled"))

    def probabilities(self) -> np.ndarray:
        """(n, c) softmax of the logits."""
        return softmax(self.array("logits"))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to 1."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def answer(peer: str, methods: dict[str, Callable[[Task], Callable[[], np.ndarray]]]) -> None:
    """Prepare the method that the command line names, time its call, write the picks."""
    method, folder, budget, seed = sys.argv[1:]
    task = Task(Path(folder), int(budget), int(seed))
    call = methods[method](task)
    start = time.perf_counter()
    rows = np.asarray(call()).astype(np.int64).ravel()
    seconds = time.perf_counter() - start
    np.save(task.folder / f"picks-{peer}-{method}.npy", rows)
    peak = peak_bytes()
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "n": len(rows), "distinct": len(np.unique(rows))}))


def peak_bytes() -> int:
    """Of this program's memory so far; ``ru_maxrss`` would begin with that of the process that started it."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024
