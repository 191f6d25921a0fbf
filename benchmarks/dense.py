"""Scores of pixels: the pass against the bare forward pass, its memory, and the choice among 60,000 patches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, at_least, at_most, command, timed
from foresift.app.passes.stored import PassOptions
from foresift.app.pixels.models import DenseModel, open_dense
from foresift.app.pixels.passes import dense_rows
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.predictions import Column, Predictions
from foresift.inference.decode import decode
from foresift.inference.dense import normalised
from foresift.inference.dense_columns import PatchGrid
from foresift.kernels.patch_grid import cells_of
from foresift.kernels.patch_rows import pack
from foresift.strategies import parse
from foresift.studies.image_sets import data_folder
from foresift.studies.masks.sets import MaskSet, mask_set

MODEL = "deeplabv3plus:mobilenetv3_small_100"
SCORED, WARM = 200, 5
"""Images of the pass, and calls that warm the network up before the bare one."""
BATCHES = (1, 4)
PATCHES, WIDTH, SIDE = 60_000, 128, 256
"""Patch units of a steel set, numbers of an embedding, pixels of a patch's side: Neven and Goedemé 2022, 4.3."""
DRAWN = 30
"""Different maps of scores that the units are made from, so that making them takes no longer than choosing."""


def scoring(work: Path) -> list[Figure]:
    """Images a second of the whole pass (decode, network, four scores, cells, store) over those of the network."""
    data, model = _camvid(work), _model(work)
    workspace = Workspace.open(work / f"home-dense-{time.time_ns()}")
    pool = open_pool(workspace, data.root / "images" / "train").without_labels()
    pool = pool.take(np.arange(len(pool)) < SCORED)
    opened = open_dense(workspace, str(model))
    bare = _bare(opened, data.listing.images[:SCORED])
    _, seconds = timed(lambda: dense_rows(workspace, pool, opened, PatchGrid(), options=PassOptions()))
    rate, bare = len(pool) / seconds, max(bare, _bare(opened, data.listing.images[:SCORED]))
    return [
        Figure(f"the bare forward pass, {MODEL}, 480 x 360", bare, "images/s"),
        Figure("entropy, least confidence, margin and ratio of every pixel, stored", rate, "images/s"),
        at_least("share of the bare forward pass", rate / bare, "", 0.9),
    ]


def memory(work: Path) -> list[Figure]:
    """Peak memory of ``foresift select`` by scores of pixels on 100 and on 367 images."""
    data, model = _camvid(work), _model(work)
    few = work / "camvid-100.csv"
    few.write_text("uri\n" + "".join(f"{image}\n" for image in data.listing.images[:100]))
    peaks = []
    for pool in (few, data.root / "images" / "train"):
        arguments = ["select", str(pool), "--model", str(model), "--strategy", "entropy", "--budget", "10"]
        done = command(
            [*arguments, "--out", str(work / "d.csv")], home=work / f"home-dense-{pool.stem}-{time.time_ns()}"
        )
        peaks.append(done.peak_bytes / 2**20)
    return [
        Figure("peak memory, 100 images of 480 x 360", peaks[0], "MiB"),
        Figure("peak memory, 367 images", peaks[1], "MiB"),
        at_most("growth of peak memory", peaks[1] - peaks[0], "MiB", 60),
    ]


def units(work: Path) -> list[Figure]:  # noqa: ARG001 - every benchmark gets a folder
    """Choosing among 60,000 patches once their scores and embeddings exist."""
    predictions = _patches()
    asked: list[tuple[str, int, float]] = [
        ("aggregate:by=top-patches,patch=64,top=4", 8_000, 60),
        ("ua-dpp-pixels:by=top-patches,patch=64,top=4", 1_000, 60),
        ("ua-dpp-pixels:by=top-patches,patch=64,top=4", 8_000, 600),
    ]
    figures = []
    for spelled, budget, limit in asked:
        strategy = parse(spelled)
        chosen, seconds = timed(lambda s=strategy, b=budget: s.select(predictions, budget=b, seed=0))  # type: ignore[misc]
        name = f"{strategy.name}, {budget:,} of {PATCHES:,} patches"
        if approx := chosen.receipt.approx:
            name += f" ({approx.partition(';')[0][:60]})"
        figures.append(at_most(name, seconds, "s", limit))
    return figures


BENCHMARKS: dict[str, Callable[[Path], list[Figure]]] = {
    "dense-scoring": scoring,
    "dense-memory": memory,
    "dense-units": units,
}


def _bare(model: DenseModel, images: tuple[str, ...]) -> float:
    """Images a second through the network alone, already in memory, at the best of some batches."""
    import torch

    subject = model.subject()
    inputs = [normalised(decode(Path(image).read_bytes()), subject) for image in images[: SCORED // 4]]
    rates = []
    with torch.inference_mode():
        for batch in BATCHES:
            blocks = [torch.cat(inputs[at : at + batch]) for at in range(0, len(inputs), batch)]
            for one in blocks[:WARM]:
                subject.network(one)
            _, seconds = timed(lambda blocks=blocks: [subject.network(one) for one in blocks])  # type: ignore[misc]
            rates.append(len(inputs) / seconds)
    return max(rates)


def _camvid(work: Path) -> MaskSet:
    return mask_set("camvid", data_folder(None), cache=work)


def _model(work: Path) -> Path:
    """A segmentation generation with fresh weights: what they are does not change how long they take."""
    from foresift.core.masks import MaskClasses
    from foresift.core.segmentation import DenseTransform
    from foresift.models.segmentation import build_segmenter
    from foresift.models.segmentation_generations import save_segmenter

    folder = work / "dense-model"
    if not folder.exists():
        classes = MaskClasses.numbered([str(code) for code in range(11)], ignored=(11,))
        network = build_segmenter(MODEL, classes=11, seed=0)
        save_segmenter(folder, network, architecture=MODEL, classes=classes, transform=DenseTransform())
    return folder


def _patches() -> Predictions:
    """60,000 patches in 200 groups of similar embeddings, and the cells of their scores."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, WIDTH))
    rows = centres[rng.integers(0, len(centres), PATCHES)] + 0.5 * rng.normal(size=(PATCHES, WIDTH))
    maps = (rng.exponential(0.3, size=(SIDE, SIDE)).clip(0, 2.0) for _ in range(DRAWN))
    drawn = pack([cells_of(one) for one in maps])
    grids = drawn[rng.integers(0, len(drawn), PATCHES)]
    grids[:, 2 + SIDE * SIDE // 256 :] *= rng.uniform(0.1, 1, size=(PATCHES, 1)).astype(np.float32)
    columns = {"embeddings": rows.astype(np.float32), "patch-grid": grids}
    return Predictions(
        sample_ids=np.arange(PATCHES), columns={name: Column(values=values) for name, values in columns.items()}
    )
