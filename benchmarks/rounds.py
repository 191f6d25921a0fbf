"""One round, from files to selected ids, against a bare loop over the same files.

The bare loop reads, decodes and infers batch after batch with the same engine and stores
nothing. Building the engine counts on both sides. The floor is what two perfectly
overlapping stages could reach: 1 / (CPU seconds of inference and decoding / cores).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, at_least, command, timed
from foresift.app.models.opening import Model, open_model
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request, Selected
from foresift.app.workspace import Workspace
from foresift.core.generations import Transform
from foresift.engines import make_engine
from foresift.inference.transform import load
from foresift.models import ScoringModule
from foresift.sources.read import fetch

BUDGET = 1000
PLAIN_BATCH = 16
BATCHES = (32, 64, 128)


def one_round(pool: Path, model: Path, work: Path, *, engine: str) -> tuple[list[Figure], Workspace]:
    """Images per second of a whole round and of the bare loop, and the floor, with one engine."""
    workspace = Workspace.open(work / f"home-{engine}")
    chosen, seconds = timed(lambda: _select(workspace, pool, model, engine))
    count = sum(1 for _ in pool.rglob("*.jpg"))
    opened = open_model(workspace, model)
    rates = {batch: _bare_rate(opened, pool, engine, batch) for batch in _batches(opened)}
    best = max(rates, key=lambda b: rates[b])
    name = f"{engine}, {opened.generation.transform.size} px, {count:,} files"
    assert chosen.result is not None
    ratio = count / seconds / rates[best]
    return [
        Figure(f"round: {name}", count / seconds, "images/s"),
        Figure(f"bare loop at its best batch {best}: {name}", rates[best], "images/s"),
        Figure(
            f"floor, decode and inference perfectly overlapped: {name}", _floor(opened, pool, engine, best), "images/s"
        ),
        at_least(f"round over bare loop: {name}", ratio, "x", 0.9),
    ], workspace


def automatic(pool: Path, model: Path, work: Path) -> list[Figure]:
    """``--engine auto``, its measuring and checking included, against a plain torch f32 loop."""
    workspace = Workspace.open(work / "home-auto")
    chosen, seconds = timed(lambda: _select(workspace, pool, model, "auto"))
    assert chosen.result is not None
    choice = chosen.result.choice
    count = sum(1 for _ in pool.rglob("*.jpg"))
    plain = _plain_rate(open_model(workspace, model), pool)
    limit = 2.5 if choice.engine.endswith("bf16") else 1.5
    checks = ", ".join(f"{n} rank {c.correlation:.4f} overlap {c.overlap:.3f}" for n, c in choice.checks.items())
    print(f"auto chose {choice.engine}: {choice.reason}; {checks}; rates {dict(choice.rates)}")
    return [
        Figure("auto: whole round, choice of the engine included", count / seconds, "images/s"),
        Figure("plain torch f32 loop, batch 16, decode then infer (2,000 files)", plain, "images/s"),
        at_least(f"auto ({choice.engine}) over plain torch", count / seconds / plain, "x", limit),
    ]


def second_call(pool: Path, model: Path, work: Path, *, engine: str, limits: bool) -> list[Figure]:
    """The same selection again on an unchanged pool, as a process and in process."""
    arguments = ["select", str(pool), "--model", str(model), "--budget", str(BUDGET), "--engine", engine]
    arguments += ["--out", str(work / "picks.csv")]
    home = work / f"home-second-{engine}"
    first = command(arguments, home=home).wall_s
    again = min(command(arguments, home=home).wall_s for _ in range(3))
    workspace = Workspace.open(work / f"home-in-process-{engine}")
    _, cold = timed(lambda: _select(workspace, pool, model, engine))
    warm = min(timed(lambda: _select(workspace, pool, model, engine))[1] for _ in range(3))
    rows = [
        Figure("first call, process", first, "s"),
        Figure("second call, process", again, "s"),
        Figure("first call, in process", cold, "s"),
        Figure("second call, in process", warm, "s"),
    ]
    if not limits:
        return [
            *rows,
            Figure("process: first over second", first / again, "x"),
            Figure("in process: first over second", cold / warm, "x"),
        ]
    return [
        *rows,
        at_least("process: first over second", first / again, "x", 20),
        at_least("in process: first over second", cold / warm, "x", 50),
    ]


def _select(workspace: Workspace, pool: Path, model: Path, engine: str) -> Selected:
    request = Request(strategy="margin", budget=BUDGET, options=PassOptions(engine=engine))
    return select_from_pool(workspace, pool, request, model=model)


def _batches(model: Model) -> list[int]:
    side = model.generation.transform.size
    return [b for b in BATCHES if b * side * side <= 64 * 224 * 224]


def _bare_rate(model: Model, pool: Path, engine: str, batch: int) -> float:
    files = sorted(map(str, pool.rglob("*.jpg")))
    start = time.perf_counter()
    size = model.generation.transform.size
    run = make_engine(engine, ScoringModule(model.network(), model.generation.transform), size=size, batch=batch)
    for pixels in _decoded(files, model.generation.transform, batch):
        run(pixels)
    return len(files) / (time.perf_counter() - start)


def _plain_rate(model: Model, pool: Path, *, count: int = 2000) -> float:
    """Images per second of what a user would write first: float tensors, torch, decode then infer."""
    import torch

    from foresift.models import with_embedding

    files = sorted(map(str, pool.rglob("*.jpg")))[:: max(1, 10_000 // count)][:count]
    network = with_embedding(model.network()).eval()
    transform = model.generation.transform
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (transform.mean, transform.std))
    start = time.perf_counter()
    with torch.inference_mode():
        for pixels in _decoded(files, transform, PLAIN_BATCH):
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div(255)
            network((images - mean) / std)
    return len(files) / (time.perf_counter() - start)


def _floor(model: Model, pool: Path, engine: str, batch: int, *, count: int = 1024) -> float:
    """Images per second at full use of every core: CPU seconds of decoding and of inference, divided by cores."""
    files = sorted(map(str, pool.rglob("*.jpg")))[:count]
    size = model.generation.transform.size
    run = make_engine(engine, ScoringModule(model.network(), model.generation.transform), size=size, batch=batch)
    start = time.process_time()
    decoded = list(_decoded(files, model.generation.transform, batch))
    decode_s = time.process_time() - start
    run(decoded[0])
    start = time.perf_counter()
    for pixels in decoded:
        run(pixels)
    # Wall time by cores: spinning threads would count as work in the CPU time of the engine.
    infer_s = (time.perf_counter() - start) * (os.cpu_count() or 1)
    return len(files) / ((decode_s + infer_s) / (os.cpu_count() or 1))


def _decoded(files: list[str], transform: Transform, batch: int) -> Iterator[np.ndarray]:
    for start in range(0, len(files), batch):
        pixels = np.zeros((batch, transform.size, transform.size, 3), dtype=np.uint8)
        for slot, file in enumerate(files[start : start + batch]):
            pixels[slot] = load(fetch(file), transform)
        yield pixels
