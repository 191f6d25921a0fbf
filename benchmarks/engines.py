"""Engines side by side on one network at 224 px, their speed and their ranking: ``python -m benchmarks.engines``.

Whole numbers are calibrated on images of the pool, and every engine is judged on others. Rates are of inference alone,
pixels in memory; each engine's best of several passes that take turns, so that load from outside falls on all of them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import cifar10, part
from benchmarks.measure import Figure, command, timed
from foresift.app.models.calibration import IMAGES as IMAGES_TO_CALIBRATE
from foresift.app.models.opening import open_model
from foresift.app.passes.stored import PassOptions, PoolJob, forward_job
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Logits, Pixels
from foresift.core.protocols import Engine
from foresift.engines import INT8, REFERENCE, available
from foresift.inference.rank_check import ALIKE, RankCheck, rank_check
from foresift.inference.transform import load
from foresift.scores import SCORES
from foresift.sources.read import fetch

COMPARED = (REFERENCE, "openvino-f32", "openvino-bf16", INT8)
SCORE, SHARE = "margin", 0.1
BATCH = 16
SIZE = 224
IMAGES = 2_000
PASSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine."""

    engine: str
    rate: float
    """Images a second."""
    check: RankCheck

    def line(self, reference: float) -> str:
        """A row of the table, beside the rate of the reference."""
        verdict = "is the reference" if self.engine == REFERENCE else "yes" if self.check.passed else "no"
        figures = f"{self.check.correlation:.4f} | {self.check.overlap:.3f} | {verdict}"
        return f"| {self.engine} | {self.rate:.1f} | {self.rate / reference:.2f} | {figures} |"


def engines(work: Path, model: Path, pool: Path, *, images: int = IMAGES, passes: int = PASSES) -> list[Figure]:
    """The table, printed; its figures."""
    rows = compared(work, model, pool, images=images, passes=passes)
    reference = rows[0].rate
    top = f"overlap of the top {rows[0].check.k}"
    print(f"| engine | images/s | times {REFERENCE} | rank correlation | {top} | may rank |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(row.line(reference), flush=True)
    return [figure for row in rows for figure in _figures(row, reference)]


def compared(work: Path, model: Path, pool: Path, *, images: int, passes: int) -> list[Row]:
    """Every engine that is installed, the reference first."""
    workspace = Workspace.open(work / "home")
    options = PassOptions(batch=BATCH)
    job = forward_job(workspace, open_pool(workspace, pool), open_model(workspace, model), options=options)
    names = [name for name in COMPARED if name in available()]
    pixels = _unseen(job, images)
    made = {}
    for name in names:
        made[name], seconds = timed(lambda name=name: job.engines.make(name, BATCH))
        print(f"{name} made in {seconds:.1f} s", flush=True)
    for engine in made.values():
        engine(pixels[:BATCH])  # the first call allocates
    rates, logits = _passes(made, pixels, passes)
    score = SCORES.get(SCORE)
    expected = score(logits[REFERENCE])
    return [
        Row(engine=name, rate=rates[name], check=rank_check(expected, score(logits[name]), share=SHARE))
        for name in names
    ]


def _unseen(job: PoolJob, images: int) -> Pixels:
    """Images of the pool that nothing was calibrated on, a whole number of batches of them."""
    calibrated = job.int8.calibration().images if INT8 in available() else ()
    rest = np.flatnonzero(~np.isin(job.digests, np.array(calibrated, dtype="<U40")))
    rows = rest[: min(images, len(rest)) // BATCH * BATCH]
    transform = job.model.generation.transform
    return np.stack([load(fetch(str(job.uris[row])), transform) for row in rows])


def _passes(made: Mapping[str, Engine], pixels: Pixels, passes: int) -> tuple[dict[str, float], dict[str, Logits]]:
    rates, logits = dict.fromkeys(made, 0.0), {}
    for _ in range(passes):
        for name, engine in made.items():
            logits[name], seconds = timed(lambda engine=engine: _logits(engine, pixels))
            rates[name] = max(rates[name], len(pixels) / seconds)
    return rates, logits


def _logits(engine: Engine, pixels: Pixels) -> Logits:
    return np.concatenate([engine(pixels[at : at + BATCH]).logits for at in range(0, len(pixels), BATCH)])


def _figures(row: Row, reference: float) -> list[Figure]:
    named = f"{row.engine}, {SIZE} px, {row.check.n:,} images"
    if row.engine == REFERENCE:
        return [Figure(f"inference: {named}", row.rate, "images/s")]
    return [
        Figure(f"inference: {named}", row.rate, "images/s"),
        Figure(f"over {REFERENCE}: {named}", row.rate / reference, "x"),
        Figure(f"rank correlation (asked: {ALIKE.correlation}): {named}", row.check.correlation, ""),
        Figure(f"overlap of the top (asked: {ALIKE.overlap}): {named}", row.check.overlap, ""),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """A table of any size, with a network that is trained first unless one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--train", type=int, default=2_000, help="labeled images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="foresift-bench-") as place:
        work = asked.work or Path(place)
        work.mkdir(parents=True, exist_ok=True)
        data = cifar10(work) / "train"
        labeled = part(data, work / f"labeled-{asked.train}", per_class=slice(0, asked.train // 10))
        each = (asked.images + IMAGES_TO_CALIBRATE) // 10 + 1
        pool = part(data, work / f"pool-{each}", per_class=slice(200, 200 + each))
        model = work / f"resnet18-{asked.train}-{asked.epochs}"
        if not model.exists():
            words = ["train", str(labeled), "--model", "resnet18", "--image-size", str(SIZE), "--out", str(model)]
            command([*words, "--epochs", str(asked.epochs)], home=work / "home-train")
        engines(work, model, pool, images=asked.images, passes=asked.passes)


if __name__ == "__main__":
    main()
