"""How long a transfer study will take, from one training of each of its models and a little of its backbone's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foresift.core.protocols import Progress, Silent
from foresift.studies.embeddings import embedded, kept_embeddings, rehearsed
from foresift.studies.surrogates.bench_of import bench_of, images_of
from foresift.studies.surrogates.benches import Bench, HeadBench
from foresift.studies.surrogates.cells import FOLDS
from foresift.studies.surrogates.protocol import Protocol
from foresift.studies.surrogates.study import piloted
from foresift.studies.threads import one_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How long a table will take."""

    title: str
    trainings: int
    seconds: float
    """Of all trainings, on ``workers`` processes, those of ``embedding_seconds`` included; decoding and choosing
    left out. From one training of each model on half of the final labels."""
    embedding_seconds: float
    """Of these: the self-supervised training of the backbone, and embedding; 0 where that is done or not needed."""
    workers: int

    @property
    def sentence(self) -> str:
        """In words."""
        return (
            f"{self.title}: about {self.trainings:,} trainings, some {self.seconds / 60:,.0f} minutes on "
            f"{self.workers} process{'es' if self.workers > 1 else ''}"
            + (
                f", {self.embedding_seconds / 60:,.0f} of them for embeddings learned without labels"
                if self.embedding_seconds
                else ""
            )
            + "; decoding images and choosing labels come on top"
        )


def estimates(
    folder: Path,
    protocols: Sequence[Protocol],
    *,
    data: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Estimate]:
    """How long a study will take: each model is trained once, on as many labels as half of the cycles bring.

    Cost: decodes the images, trains a backbone on a few of them, never the whole self-supervised training.
    """
    return [_estimate(folder, one, data, min(workers, one.seeds), progress or Silent()) for one in protocols]


def _estimate(folder: Path, protocol: Protocol, data: Path | None, workers: int, told: Progress) -> Estimate:
    bench, embedding_seconds = _bench(protocol, folder, data, told)
    labels = protocol.labels_of(bench.count) * protocol.half
    rows = np.sort(np.random.default_rng(0).permutation(bench.count)[:labels])
    took = {}
    with one_thread():
        for model in protocol.models:
            began = time.perf_counter()
            bench.values(bench.teach(model, rows, seed=0), "loss")
            took[model] = time.perf_counter() - began
    counts = {model: trainings_of(protocol, model) for model in protocol.models}
    # Chains and curves take half of the final labels on average; the heirs take all of them.
    total = sum(took[model] * (half + 2 * whole) for model, (half, whole) in counts.items())
    return Estimate(
        title=protocol.title or protocol.images,
        trainings=protocol.seeds * sum(half + whole for half, whole in counts.values()),
        seconds=embedding_seconds + protocol.seeds * total / workers,
        embedding_seconds=embedding_seconds,
        workers=workers,
    )


def _bench(protocol: Protocol, folder: Path, data: Path | None, told: Progress) -> tuple[Bench, float]:
    """Where trainings can be timed, and how many seconds its embeddings still need."""
    backbone, epochs = protocol.backbone, protocol.backbone_epochs
    kept = kept_embeddings(protocol.images, backbone=backbone, epochs=epochs, folder=folder)
    if not backbone or protocol.learner == "segmentation" or kept.exists():
        return bench_of(protocol, folder, data, told), 0.0
    images = images_of(protocol, folder, data)
    rehearsal = rehearsed(images, backbone=backbone, epochs=epochs)
    if protocol.learner == "pixels":  # its embeddings serve auto alone
        return bench_of(replace(protocol, backbone=""), folder, data, told), rehearsal.seconds
    pool, test = embedded(rehearsal.network, images)
    heads = HeadBench(images=images, lessons=protocol.recipe, embeddings=pool, test_embeddings=test)
    return heads, rehearsal.seconds


def trainings_of(protocol: Protocol, model: str) -> tuple[int, int]:
    """Trainings of one model and seed: on part of the labels, and on all of them."""
    choosers, strategies = len(protocol.choosers), len(protocol.strategies)
    chain = (protocol.cycles - 2) * strategies + 1 if model in protocol.choosers else 0
    curve = (protocol.cycles - 1) * protocol.curves
    return chain + curve + (FOLDS + 2) * protocol.probes + protocol.pilots * len(piloted(protocol)) * (
        choosers + 1
    ), 1 + choosers * strategies
