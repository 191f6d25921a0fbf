"""What many members cost beside one: memory, time, agreement with slow and foreign computations.

``python -m benchmarks.ensembles [FOLDER]``; with $FORESIFT_PEERS, baal's BALD is asked too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, at_least, at_most, timed

N, FEW, MANY, MEMBERS = 50_000, 10, 1_000, 100
IMAGES, BATCH = 2_000, 250
BLOCK_ROWS = 4_096
CHILD = "child"


def logits_of(member: int, rows: slice, classes: int) -> np.ndarray:
    """(b, c) of one member, made from nothing: what a store or a network would give."""
    rng = np.random.default_rng([member, rows.start, classes])
    return rng.normal(scale=3, size=(rows.stop - rows.start, classes)).astype(np.float32)


def whole(member: int, classes: int) -> np.ndarray:
    """(n, c), block by block, so that blocks and the whole agree."""
    out = np.empty((N, classes), dtype=np.float32)
    for rows in blocks():
        out[rows] = logits_of(member, rows, classes)
    return out


def blocks() -> Iterator[slice]:
    """Rows of the pool."""
    return (slice(at, min(N, at + BLOCK_ROWS)) for at in range(0, N, BLOCK_ROWS))


def member_major(members: int) -> None:
    """One state of the pool, member after member; then every score."""
    from foresift.core.members import state_of
    from foresift.scores import SCORES

    state = state_of(whole(member, FEW) for member in range(members))
    for name in ("predictive-entropy", "mutual-information", "variation-ratios", "vote-entropy", "mean-std"):
        SCORES.get(name)(state)


def sample_major(members: int) -> None:
    """The scores of the pool, block of samples after block: no state outlives its block."""
    from foresift.core.members import state_of
    from foresift.scores import SCORES

    values = np.empty(N, dtype=np.float32)
    for rows in blocks():
        state = state_of(logits_of(member, rows, MANY) for member in range(members))
        values[rows] = SCORES.get("mutual-information")(state)


CHILDREN = {"member-major": member_major, "sample-major": sample_major}


def own_peak() -> int:
    """The most memory that this process has held; rusage would count what its parent held before it began."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def peak(how: str, members: int) -> float:
    """MiB that a process of its own needs."""
    command = [sys.executable, "-m", "benchmarks.ensembles", CHILD, how, str(members)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["peak_bytes"]) / 2**20


def memory() -> list[Figure]:
    """Peak memory of 100 members against one, and of 1,000 classes."""
    one, many = peak("member-major", 1), peak("member-major", MEMBERS)
    wide = peak("sample-major", 3)
    return [
        Figure(f"peak memory, 1 member x {N:,} x {FEW}", one, "MiB"),
        at_most(f"peak memory of {MEMBERS} members over that of one", many / one, "x", 1.10),
        at_most(f"peak memory, x {MANY:,} classes, sample-major (3 members; more add none)", wide, "MiB", 2_048),
    ]


def share_of_inference() -> list[Figure]:
    """Time of the statistics beside that of a forward pass."""
    import torch

    from foresift.core.generations import Transform
    from foresift.core.members import add, no_members
    from foresift.engines import make_engine
    from foresift.models import ScoringModule, build

    transform = Transform(size=32)
    network = build("resnet18-small", classes=FEW, image_size=32, seed=0).eval()
    with torch.no_grad():
        engine = make_engine("torch-f32", ScoringModule(network, transform), size=32, batch=BATCH)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    engine(pixels[:BATCH])
    said, inference = timed(lambda: [engine(pixels[at : at + BATCH]).logits for at in range(0, IMAGES, BATCH)])
    logits = np.concatenate(said)
    state = add(no_members(IMAGES, FEW), logits)
    seconds = min(timed(lambda: add(state, logits))[1] for _ in range(20))
    return [
        Figure("forward pass of resnet18-small at 32 px", IMAGES / inference, "images/s"),
        at_most("statistics over inference", 100 * seconds / inference, "%", 5),
    ]


def agreement(folder: Path) -> list[Figure]:
    """Against all members at once in float64, against merged halves, and against baal's BALD."""
    from foresift.core.members import merge, state_of
    from foresift.scores.ensemble import mutual_information, predictive_entropy, variation_ratios

    logits = [logits_of(member, slice(0, BLOCK_ROWS), FEW) for member in range(MEMBERS)]
    state = state_of(logits)
    entropy, information, ratios = naive(np.stack(logits).astype(np.float64))
    quarters = [state_of(logits[part::4]) for part in range(4)]
    halves = reduce(merge, quarters)
    apart = np.abs(mutual_information(halves) - mutual_information(state)).max()
    return [
        at_most("largest error of predictive entropy", np.abs(predictive_entropy(state) - entropy).max(), "nats", 1e-5),
        at_most("largest error of mutual information", np.abs(mutual_information(state) - information).max(), "", 1e-5),
        at_most("largest error of variation ratios", np.abs(variation_ratios(state) - ratios).max(), "", 1e-12),
        at_most("merged parts against one pass", float(apart), "nats", 1e-6),
        *against_baal(folder, logits),
    ]


def naive(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) H, MI, VR of (e, n, c) by definition."""
    p = np.exp(logits - logits.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    mean = p.mean(axis=0)

    def h(q: np.ndarray) -> np.ndarray:
        return -(q * np.log(np.maximum(q, 1e-300))).sum(axis=-1)

    votes = np.stack([np.bincount(column, minlength=p.shape[2]) for column in p.argmax(axis=2).T])
    return h(mean), h(mean) - h(p).mean(axis=0), 1 - votes.max(axis=1) / len(p)


def against_baal(folder: Path, logits: list[np.ndarray]) -> list[Figure]:
    """The same picks as baal's BALD, where its environment is there."""
    python = Path(os.environ.get("FORESIFT_PEERS", "")) / "baal" / "bin" / "python"
    if not python.is_file():
        print("  no $FORESIFT_PEERS/baal; BALD is not compared")
        return []
    from foresift.core.members import state_of
    from foresift.kernels.topk import top_k
    from foresift.scores.ensemble import mutual_information

    k = 500
    for name, array in (
        ("members", np.stack(logits)),
        ("logits", logits[0]),
        ("labeled", np.empty(0, dtype=np.int64)),
    ):
        np.save(folder / f"{name}.npy", array)
    runner = Path(__file__).parent / "peers" / "run_baal.py"
    subprocess.run([python, runner, "bald", folder, str(k), "0"], check=True, capture_output=True)
    theirs = np.load(folder / "picks-baal-bald.npy")
    ours = top_k(mutual_information(state_of(logits)), k)
    return [at_least("picks that baal's BALD shares", 100 * len(np.intersect1d(ours, theirs)) / k, "%", 99)]


def main(arguments: list[str]) -> int:
    """Run, print; 1 if a limit was missed."""
    if arguments[:1] == [CHILD]:
        CHILDREN[arguments[1]](int(arguments[2]))
        print(json.dumps({"peak_bytes": own_peak()}))
        return 0
    folder = Path(arguments[0]) if arguments else Path(tempfile.mkdtemp(prefix="foresift-bench-"))
    missed = False
    for part in (lambda: agreement(folder), share_of_inference, memory):
        for figure in part():
            print(f"  {figure}", flush=True)
            missed |= figure.fine is False
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
