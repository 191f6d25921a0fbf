"""``foresift study strategies``: every strategy against random, on real images, from the first label on.

For each image set: self-supervised embeddings of the pool (SimCLR, trained on the pool's own
images without a label), then rounds of labels (100, 500, 2,000 in all). Two learners: a linear
head on the cached embeddings, and a small CNN trained from scratch. A strategy whose columns
need a trained model begins with the random arm's first batch; one that needs embeddings alone
chooses from the very first label. Every cell is a file of its own, so that an interrupted
study goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.passes.fitted import fitted_passes
from foresift.core.about import foresift_version
from foresift.core.arrays import Rows, frozen
from foresift.core.digests import digest_value
from foresift.core.errors import ForesiftError, UsageError
from foresift.core.predictions import Column, Predictions
from foresift.core.protocols import Progress, Silent
from foresift.strategies import STRATEGIES, Strategy, parse, spelling
from foresift.studies.cells import kept_cell, with_tuples
from foresift.studies.embeddings import cached_embeddings
from foresift.studies.image_sets import ImageSet, data_folder, image_set, scaled
from foresift.studies.learners import STUDY, CnnLearner, HeadLearner, Learned, Learner
from foresift.studies.parts import WHOLE, Part
from foresift.training.columns import FitInputs
from foresift.training.columns.base import PIXELS

RANDOM = "random"
POOL_SHARE = 9
"""Tenths of the images that a seed's pool holds."""
LABEL_NEEDS = ("labels", "truth")
BRIEF = ("random", "margin", "k-center", "badge", "typiclust", "ua-dpp")
"""Strategies that the learner from scratch is tried with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The size of a study."""

    sets: tuple[str, ...]
    budgets: tuple[int, ...] = (100, 500, 2_000)
    """Labels in all after each round."""
    seeds: int = 3
    backbone: str = "resnet8"
    """Trained without labels for the cached embeddings."""
    epochs: int = 20
    cnn: str = "cnn:16"
    """Trained from scratch in each round."""
    cnn_steps: int = 600
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Spellings that replace a strategy's defaults, where these would take hours."""


OVERRIDES = {
    "bait": "margin:keep=2x+bait:dims=8,classes=4",
    "batch-bald": "batch-bald:keep=3000",
    "vaal": "vaal:steps=200",
}
PRESETS = {
    "cpu": Preset(sets=("cifar10", "caltech101"), overrides=OVERRIDES),
    "gpu": Preset(
        sets=("cifar10-50k", "caltech101"),
        backbone="resnet18-small",
        epochs=200,
        cnn="resnet18-small",
        cnn_steps=3_000,
        overrides=OVERRIDES,
    ),
    "smoke": Preset(
        sets=("cifar10-small",), budgets=(20, 60), seeds=2, epochs=1, cnn="cnn:4", cnn_steps=20, overrides=OVERRIDES
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One strategy with one learner, image set and seed: test accuracy after each round."""

    images: str
    learner: str
    strategy: str
    """As registered; ``spelling`` is what ran."""
    seed: int
    spelling: str = ""
    labels: tuple[int, ...] = ()
    accuracy: tuple[float, ...] = ()
    """Within [0, 1], after each round."""
    seconds: tuple[float, ...] = ()
    """Of each selection, columns included."""
    cold: str = ""
    """``random`` where the first batch is the random arm's."""
    approx: str = ""
    refused: str = ""
    """Why there is no result, where there is none."""

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return f"{self.images}-{self.learner}-{self.strategy}-{self.seed}"

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Cell:
        """Inverse of ``dataclasses.asdict``, lists back to tuples."""
        return cls(**with_tuples(plain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All cells of a study."""

    preset: str
    budgets: tuple[int, ...]
    cells: tuple[Cell, ...]
    neighbours: Mapping[str, float]
    """Of each image set: leave-one-out accuracy of 20 nearest neighbours, what the embeddings are worth."""
    seconds: float


def run(
    folder: Path,
    *,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Comparison:
    """Run what is missing of a study; finished cells are read from ``folder``.

    Args:
        folder: cells, embeddings and decoded images are kept there.
        only: strategies to compare; random is always among them. Empty: every registered one that
            needs no truth.
        part: learners and seeds that are run; the comparison holds no others.
    Raises:
        UsageError: no such preset.
        DataError: the image sets are not there.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    size, source, told = PRESETS[preset], data_folder(data), progress or Silent()
    names = _names(only)
    started, cells, neighbours = time.perf_counter(), [], {}
    for name in size.sets:
        images = image_set(name, source, cache=folder / "images")
        learners, neighbours[name] = _learners(images, size, folder, told)
        told.start(f"comparing on {name}", _count(learners, names, size.seeds))
        for cell in _cells(images, learners, names, size, folder, part):
            cells.append(cell)
            told.advance(1)
        told.done()
    return Comparison(
        preset=preset,
        budgets=size.budgets,
        cells=tuple(cells),
        neighbours=neighbours,
        seconds=time.perf_counter() - started,
    )


def _names(only: Sequence[str]) -> list[str]:
    """Strategies of the grid, random first."""
    every = [name for name in STRATEGIES.names() if "truth" not in parse(name).needs]
    wanted = [STRATEGIES.canonical(name) for name in only] or every
    return [RANDOM, *(name for name in wanted if name != RANDOM)]


def _of_learner(learner: Learner, names: Sequence[str]) -> list[str]:
    return list(names) if learner.name == "head" else [name for name in names if name in BRIEF]


def _count(learners: Sequence[Learner], names: Sequence[str], seeds: int) -> int:
    return seeds * sum(len(_of_learner(learner, names)) for learner in learners)


def _cells(
    images: ImageSet, learners: Sequence[Learner], names: Sequence[str], size: Preset, folder: Path, part: Part
) -> Iterator[Cell]:
    for learner, seed in part.among([(learner, seed) for learner in learners for seed in range(size.seeds)]):
        for name in _of_learner(learner, names):
            blank = Cell(images=images.name, learner=learner.name, strategy=name, seed=seed)
            make = partial(_run_cell, blank, learner, images, size)
            path = folder / "cells" / _settings(size, name) / f"{blank.stem}.json"
            yield kept_cell(path, Cell, make, worth=_is_answer)


def _settings(size: Preset, strategy: str) -> str:
    """Digest of all that a cell depends on beside its name; a cell of other settings is another cell."""
    spelled = size.overrides.get(strategy, strategy)
    protocol = [size.budgets, size.backbone, size.epochs, size.cnn, size.cnn_steps, POOL_SHARE]
    return digest_value([protocol, spelling(parse(spelled)), foresift_version()])[:12]


def _is_answer(cell: Cell) -> bool:
    """A refusal may have a passing cause, and costs nothing to find out again."""
    return not cell.refused


def _run_cell(blank: Cell, learner: Learner, images: ImageSet, size: Preset) -> Cell:
    spelled = size.overrides.get(blank.strategy, blank.strategy)
    told = {**asdict(blank), "spelling": spelled}
    try:
        strategy = parse(spelled)
        return Cell(**{**told, **_rounds(strategy, learner, images, size, seed=blank.seed)})
    except ForesiftError as error:
        return Cell(**{**told, "refused": str(error)})


def _rounds(strategy: Strategy, learner: Learner, images: ImageSet, size: Preset, *, seed: int) -> dict[str, Any]:
    """Labels bought round by round; a model trained from scratch after each.

    Each seed has a pool of its own, nine tenths of the images: otherwise a strategy without
    randomness would buy the same labels every time and look more certain than it is.
    """
    pool = np.sort(
        np.random.default_rng([seed, 11]).permutation(len(images.codes))[: POOL_SHARE * len(images.codes) // 10]
    )
    known = np.empty(0, dtype=np.intp)
    untrained = Learned(accuracy=0.0, columns=learner.start())
    learned: Learned | None = None
    accuracy: list[float] = []
    seconds: list[float] = []
    approx = cold = ""
    for number, total in enumerate(size.budgets):
        began = time.perf_counter()
        chosen = strategy if learned is not None or _works_cold(strategy, learner) else parse(RANDOM)
        cold = cold or (RANDOM if chosen.name != strategy.name else "")
        view = _view(learned or untrained, chosen, images, pool, known)
        found = chosen.select(
            view,
            budget=total - len(known),
            labeled=known,
            labels=images.codes[known] if "labels" in (*chosen.needs, *chosen.uses) else None,
            seed=1_000 * seed + number,
        )
        seconds.append(time.perf_counter() - began)
        approx = approx or found.receipt.approx
        known = np.concatenate([known, found.sample_ids.astype(np.intp)])
        learned = learner.learn(np.sort(known), seed=seed)
        accuracy.append(learned.accuracy)
    return {
        "labels": size.budgets,
        "accuracy": tuple(accuracy),
        "seconds": tuple(round(value, 3) for value in seconds),
        "cold": cold,
        "approx": approx,
    }


def _view(learned: Learned, strategy: Strategy, images: ImageSet, pool: Rows, known: Rows) -> Predictions:
    """Every column that a strategy needs, of the pool; those that take a training on it are fitted here."""
    wanted = [name for name in strategy.needs if name not in LABEL_NEEDS]
    fitted = fitted_passes(strategy, have=learned.columns)
    made = {one.name for one in fitted}
    own = (*(name for name in wanted if name not in made), *(n for one in fitted for n in one.needs if n != PIXELS))
    view = learned.predictions(np.arange(len(images.codes)), tuple(dict.fromkeys(own))).take(pool)
    labeled = np.isin(view.sample_ids, known)
    arrays = {name: column.values for name, column in view.columns.items()}
    inputs = FitInputs(
        labeled=labeled, columns=arrays, load=partial(scaled, images.pixels[pool] if fitted else images.pixels)
    )
    columns = {one.name: Column(values=frozen(one.fit(inputs)), producer=STUDY) for one in fitted}
    return replace(view, columns={**view.columns, **columns})


def _works_cold(strategy: Strategy, learner: Learner) -> bool:
    """Whether nothing but what exists without a label is needed."""
    return set(strategy.needs) <= set(learner.start())


def _learners(images: ImageSet, size: Preset, folder: Path, progress: Progress) -> tuple[list[Learner], float]:
    """Both learners, on embeddings that are trained once and kept; and what these are worth."""
    from foresift.training.self_supervised import MONITORED, neighbour_accuracy

    pool, test = cached_embeddings(images, backbone=size.backbone, epochs=size.epochs, folder=folder, progress=progress)
    some = np.arange(0, len(pool), max(1, len(pool) // MONITORED))
    head = HeadLearner(images=images, embeddings=pool, test_embeddings=test)
    cnn = CnnLearner(images=images, cold=pool, folder=folder, architecture=size.cnn, steps=size.cnn_steps)
    return [head, cnn], neighbour_accuracy(pool[some], images.codes[some])
