"""Two limits of their own: k-center against the plain incremental algorithm, and a k-DPP under a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import foresift

CENTER = {"n": 200_000, "d": 128, "budget": 2_000, "times": 4.0}
DPP = {"n": 50_000, "d": 128, "budget": 1_000, "seconds": 60.0}


def limits(names: Sequence[str], work: Path) -> int:  # noqa: ARG001 - makes its own arrays
    """Print both, or those that are named; the number missed."""
    parts: dict[str, Callable[[], int]] = {"k-center": k_center, "k-dpp": k_dpp}
    print("\nlimits of their own", flush=True)
    return sum(run() for name, run in parts.items() if not names or name in names)


def k_center() -> int:
    """The ids of the plain algorithm, and at least four times as fast."""
    n, budget = int(CENTER["n"]), int(CENTER["budget"])
    X = clustered(n, int(CENTER["d"]))
    seconds, chosen = _selected(X, "k-center", budget)
    start = time.perf_counter()
    plain_k_center(X, int(chosen[0]), budget)
    slow = time.perf_counter() - start
    exact = plain_k_center(X.astype(np.float64), int(chosen[0]), budget)  # in float32 its near ties go by rounding
    ratio, same = slow / seconds, bool((exact == chosen).all())
    fine = same and ratio >= CENTER["times"]
    print(
        f"  k-center n = {n:,}, d = 128, budget {budget:,}: {seconds:.2f} s, plain {slow:.2f} s, ratio {ratio:.1f} "
        f"(limit {CENTER['times']:g}), ids {'identical' if same else 'DIFFER'}{'' if fine else '  FELL SHORT'}",
        flush=True,
    )
    return int(not fine)


def k_dpp() -> int:
    """Exact for its feature kernel, under a minute."""
    n, budget = int(DPP["n"]), int(DPP["budget"])
    seconds, chosen = _selected(clustered(n, int(DPP["d"])), "k-dpp", budget)
    fine = seconds < DPP["seconds"] and len(set(chosen.tolist())) == budget
    print(
        f"  k-dpp n = {n:,}, d = 128, k = {budget:,}: {seconds:.1f} s (limit {DPP['seconds']:g})"
        f"{'' if fine else '  FELL SHORT'}",
        flush=True,
    )
    return int(not fine)


def plain_k_center(X: np.ndarray, first: int, k: int) -> np.ndarray:
    """(k,) ids by one distance update of all rows a pick, as everybody writes it first."""
    norms = np.einsum("ij,ij->i", X, X)
    picks = [first]
    nearest = np.full(len(X), np.inf, dtype=X.dtype)
    for _ in range(k - 1):
        centre = X[picks[-1]]
        np.minimum(nearest, norms - 2 * (X @ centre) + centre @ centre, out=nearest)
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
    return np.array(picks)


def clustered(n: int, d: int) -> np.ndarray:
    """(n, d) float32 rows of uneven clusters with a decaying spectrum."""
    rng = np.random.default_rng(0)
    spread = (1 / np.sqrt(1 + np.arange(d))).astype(np.float32)
    centres = rng.normal(size=(100, d)).astype(np.float32) * spread * 2
    which = rng.choice(100, size=n, p=rng.dirichlet(np.ones(100)))
    return centres[which] + rng.standard_normal(size=(n, d), dtype=np.float32) * spread


def _selected(X: np.ndarray, name: str, budget: int) -> tuple[float, np.ndarray]:
    """Seconds and ids of a selection, with compiled loops loaded beforehand."""
    foresift.select(foresift.Predictions.from_arrays(np.arange(64), embeddings=X[:64]), name, budget=5)
    predictions = foresift.Predictions.from_arrays(np.arange(len(X)), embeddings=X)
    start = time.perf_counter()
    chosen = foresift.select(predictions, name, budget=budget).sample_ids
    return time.perf_counter() - start, chosen
