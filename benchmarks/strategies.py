"""Strategies against their peers, and at scale.

Run as ``python -m benchmarks.strategies [peers|limits|costly|scale] [METHOD ...]``.

Peers run in virtual environments of their own (``FORESIFT_PEERS``, default ``.peers``), made on
first use. Arrays are handed over as files; the selection call alone is timed, twice for anything
under ten seconds, and the faster time counts. A peer that takes more than its limit or more than 16 GiB
counts as the limit and is named; one that dies by itself is named and left out of the ratio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.costly import costly
from benchmarks.limits import limits
from benchmarks.objectives import OBJECTIVES
from benchmarks.scale import scale

HERE = Path(__file__).parent / "peers"
PEERS = Path(os.environ.get("FORESIFT_PEERS", ".peers"))
LIMIT_S = float(os.environ.get("FORESIFT_PEER_LIMIT_S", "600"))
LIMIT_BYTES = 16 << 30
SIZES = (10_000, 50_000)
BUDGET = 1_000
METHODS: dict[str, tuple[str, tuple[str, ...], float]] = {
    "margin": ("margin", ("skactiveml", "alipy", "modal"), 10),
    "k-center": ("k-center", ("skactiveml", "alipy"), 10),
    "badge": ("badge", ("skactiveml",), 10),
    "typiclust": ("typiclust", ("skactiveml",), 10),
    "drop-query": ("drop-query", ("skactiveml",), 10),
    "prob-cover": ("prob-cover:delta={delta}", ("skactiveml",), 10),
    "max-herding": ("max-herding", ("skactiveml",), 10),
    "bald": ("bald", ("baal",), 10),
    "k-dpp": ("k-dpp", ("dppy",), 4),
}
"""Method: our spelling, who else has it, how many times faster we mean to be."""


@dataclass(frozen=True)
class Answer:
    """What one run of one library gave."""

    seconds: float
    objective: float | None
    note: str = ""
    broken: bool = False
    """It died by itself: nothing can be said of its speed."""


def arrays(folder: Path, n: int, *, d: int = 512, c: int = 10, seed: int = 0) -> Path:
    """A pool that looks like embeddings: clusters of uneven size, a decaying spectrum, a linear head."""
    target = folder / f"n{n}"
    if (target / "done").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    spread = (1 / np.sqrt(1 + np.arange(d))).astype(np.float32)
    centres = rng.normal(size=(100, d)).astype(np.float32) * spread * 2
    which = rng.choice(100, size=n, p=rng.dirichlet(np.ones(100)))
    X = centres[which] + rng.normal(size=(n, d)).astype(np.float32) * spread
    head = np.vstack([rng.normal(size=(d, c)), np.zeros((1, c))]).astype(np.float32)
    labeled = np.sort(rng.choice(n, 100, replace=False))
    logits = X @ head[:-1] + head[-1]
    members = np.stack([logits + rng.normal(size=logits.shape).astype(np.float32) for _ in range(10)])
    sample = X[rng.choice(n, 1000, replace=False)]
    squared = ((sample[:500, None] - sample[None, 500:]) ** 2).sum(-1)
    unit = sample / np.linalg.norm(sample, axis=1, keepdims=True)
    cosine = 1 - unit[:500] @ unit[500:].T
    saved = {
        "embeddings": X,
        "logits": logits,
        "head": head,
        "labeled": labeled,
        "labels": logits[labeled].argmax(axis=1),
        "members": members,
        "delta": np.sqrt(np.quantile(squared, 0.002)),
        "gamma": 1 / np.median(squared),
        "tau": 0.5 * np.median(cosine),
    }
    for name, values in saved.items():
        np.save(target / f"{name}.npy", values)
    (target / "done").touch()
    return target


def run(peer: str, method: str, spec: str, folder: Path) -> Answer:
    """One library's answer, the faster of two runs where that is cheap."""
    best: Answer | None = None
    for _ in range(2):
        got = _once(peer, method, spec, folder)
        best = got if best is None or got.seconds < best.seconds else best
        if got.note or got.seconds > 10:
            break
    assert best is not None
    return best


def _once(peer: str, method: str, spec: str, folder: Path) -> Answer:
    python = sys.executable if peer == "foresift" else str(environment(peer))
    arguments = [python, str(HERE / f"run_{peer}.py"), spec, str(folder), str(BUDGET), "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        failure = _watch(child)
        output, errors = child.communicate()
    if failure or child.returncode:
        reason = failure or (errors.strip().splitlines() or ["no message"])[-1][:100]
        return Answer(LIMIT_S, None, reason, broken=not failure)
    said = json.loads(output.strip().splitlines()[-1])
    if said["distinct"] != BUDGET:
        return Answer(said["seconds"], None, f"gave {said['distinct']} distinct rows of {BUDGET}")
    picked = np.load(folder / f"picks-{peer}-{spec}.npy")
    judged = OBJECTIVES.get(method)
    return Answer(said["seconds"], judged[0](folder, picked) if judged else None)


def _watch(child: subprocess.Popen[str]) -> str:
    """Why the child was stopped; empty if it ended by itself."""
    start, process = time.monotonic(), psutil.Process(child.pid)
    while child.poll() is None:
        time.sleep(0.1)
        try:
            held = process.memory_info().rss
        except psutil.NoSuchProcess:
            break
        if held > LIMIT_BYTES or time.monotonic() - start > LIMIT_S:
            child.kill()
            return f"over {LIMIT_BYTES >> 30} GiB" if held > LIMIT_BYTES else f"over {LIMIT_S:g} s"
    return ""


def environment(peer: str) -> Path:
    """The peer's own Python, installed on first use."""
    python = PEERS.absolute() / peer / "bin" / "python"
    if not python.exists():
        print(f"  installing {peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / peer)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(HERE / f"{peer}.txt")], check=True)
    return python


def against_peers(names: Sequence[str], work: Path) -> int:
    """Print a line for each method, size and library; the number of limits missed."""
    missed = 0
    for n in SIZES:
        folder = arrays(work, n)
        print(f"\nn = {n:,}, d = 512, budget {BUDGET:,}, 100 labeled", flush=True)
        for method in names or METHODS:
            missed += _compare(method, folder)
    return missed


def _compare(method: str, folder: Path) -> int:
    spec, peers, times = METHODS[method]
    ours = run("foresift", method, spec, folder)
    print(f"  {method:<12} foresift    {_told(ours)}", flush=True)
    others = {peer: run(peer, method, method, folder) for peer in peers}
    for peer, got in others.items():
        worse = _worse(method, ours, got)
        print(f"  {'':<12} {peer:<11} {_told(got)}{'  BETTER THAN OURS' if worse else ''}", flush=True)
    working = {peer: got for peer, got in others.items() if not got.broken}
    worse_than_any = any(_worse(method, ours, got) for got in working.values())
    if ours.note or worse_than_any or not working:
        print(f"  {'':<12} {'no peer ran' if not working else 'FELL SHORT: our answer is not good enough'}", flush=True)
        return 1
    fastest = min(got.seconds for got in working.values())
    ratio = fastest / ours.seconds
    short = fastest > 1 and ratio < times
    verdict = "under a second, no limit" if fastest <= 1 else f"limit {times:g}{', FELL SHORT' if short else ', ok'}"
    print(f"  {'':<12} ratio {ratio:,.1f} ({verdict})", flush=True)
    return int(short)


def _worse(method: str, ours: Answer, other: Answer) -> bool:
    if ours.objective is None or other.objective is None:
        return False
    sign = 1 if OBJECTIVES[method][1] == "higher" else -1
    slack = 1e-3 * abs(other.objective)
    return sign * (other.objective - ours.objective) > slack


def _told(got: Answer) -> str:
    value = "" if got.objective is None else f"  objective {got.objective:,.5g}"
    return f"{got.seconds:>9.3f} s{value}{'  ' + got.note if got.note else ''}"


PARTS = {"peers": against_peers, "limits": limits, "costly": costly, "scale": scale}


def main(names: list[str]) -> int:
    """All parts, or the one that is named; 1 if a limit was missed."""
    part = names.pop(0) if names and names[0] in PARTS else ""
    work = Path(os.environ.get("FORESIFT_BENCH") or tempfile.mkdtemp(prefix="foresift-bench-")) / "strategies"
    missed = sum(run_part(names, work) for name, run_part in PARTS.items() if part in ("", name))
    print(f"\n{missed} limits missed")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
