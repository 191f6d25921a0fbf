"""How time and memory grow with the pool: float16 embeddings mapped from a file, one process a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZES = (200_000, 1_000_000)
LIMIT_BYTES = 6 << 30
EXPONENT = 1.15
METHODS = ("margin", "k-center", "badge", "k-means", "typiclust", "ua-dpp")
_CHILD = """
import json, sys, time
from pathlib import Path
import numpy as np
import foresift
folder, spec, n, budget = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
X = np.load(f"{folder}/embeddings.npy", mmap_mode="r")[:n]
logits = np.load(f"{folder}/logits.npy", mmap_mode="r")[:n]
predictions = foresift.Predictions.from_arrays(np.arange(n), logits=logits, embeddings=X)
start = time.perf_counter()
picked = foresift.select(predictions, spec, budget=budget)
seconds = time.perf_counter() - start
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) * 1024  # ru_maxrss would begin with that of the parent
print(json.dumps({"seconds": seconds, "peak": peak, "n": len(set(picked.sample_ids.tolist())),
                  "solver": picked.receipt.solver, "approx": picked.receipt.approx}))
"""


def scale(names: Sequence[str], work: Path, *, sizes: Sequence[int] = SIZES, budget: int = 1_000) -> int:
    """Print seconds, peak memory and the exponent of time in n; the number of limits missed."""
    folder = _arrays(work / "scale", max(sizes))
    print(f"\nfloat16 x 512 mapped, budget {budget:,}; last-level cache {_cache()}", flush=True)
    return sum(_grow(spec, folder, sizes, budget) for spec in names or METHODS)


def _grow(spec: str, folder: Path, sizes: Sequence[int], budget: int) -> int:
    runs = []
    for n in sizes:
        arguments = [sys.executable, "-c", _CHILD, str(folder), spec, str(n), str(budget)]
        child = subprocess.run(arguments, capture_output=True, text=True)
        if child.returncode:
            print(
                f"  {spec:<12} n = {n:>9,}  FAILED {(child.stderr.strip().splitlines() or [''])[-1][:110]}", flush=True
            )
            return 1
        said = json.loads(child.stdout.strip().splitlines()[-1])
        runs.append(said)
        print(
            f"  {spec:<12} n = {n:>9,} {said['seconds']:>9.2f} s  peak {said['peak'] / 2**30:.2f} GiB"
            f"  {said['solver']}{'; approx: ' + said['approx'] if said['approx'] else ''}",
            flush=True,
        )
    exponent = math.log(runs[-1]["seconds"] / runs[0]["seconds"]) / math.log(sizes[-1] / sizes[0])
    fine = runs[-1]["peak"] < LIMIT_BYTES and exponent <= EXPONENT and all(r["n"] == budget for r in runs)
    print(f"  {'':<12} exponent {exponent:.2f} (limit {EXPONENT}, 6 GiB){'' if fine else '  FELL SHORT'}", flush=True)
    return int(not fine)


def _arrays(folder: Path, n: int, *, d: int = 512, c: int = 10) -> Path:
    """Clusters of uneven size with a decaying spectrum, written block by block."""
    done = folder / f"done-{n}"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    spread = (1 / np.sqrt(1 + np.arange(d))).astype(np.float32)
    centres = rng.normal(size=(1_000, d)).astype(np.float32) * spread * 2
    share, head = rng.dirichlet(np.ones(1_000)), rng.normal(size=(d, c)).astype(np.float32)
    X = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float16, (n, d))
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float32, (n, c))
    for start in range(0, n, 20_000):
        stop = min(n, start + 20_000)
        rows = centres[rng.choice(1_000, size=stop - start, p=share)]
        rows = rows + rng.standard_normal(size=rows.shape, dtype=np.float32) * spread
        X[start:stop], logits[start:stop] = rows, rows @ head
    X.flush()
    logits.flush()
    done.touch()
    return folder


def _cache() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    return path.read_text().strip() if path.exists() else "unknown"
