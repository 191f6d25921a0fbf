"""``foresift study ensembles``: the shape of Chitta et al. 2019, Tables 1-5 and Figures 1-2, on real images.

Trial by trial: every comparison starts from the same random part, the same first weights and the same schedule, so
that differences are paired. Test images serve measuring alone. Every cell is a file, so that an interrupted study
goes on where it was.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.about import foresift_version
from foresift.core.arrays import Rows
from foresift.core.digests import digest_array, digest_value
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.core.protocols import Progress, Silent
from foresift.cycle.search import counts_of, random_rows, start_count
from foresift.engines import REFERENCE, available
from foresift.kernels.consensus import Consensus
from foresift.strategies import parse
from foresift.studies.cells import kept_cell, with_tuples
from foresift.studies.ensembles.presets import PRESETS, Preset, Setting
from foresift.studies.image_sets import DIGITS, ImageSet, data_folder, image_set
from foresift.studies.parts import WHOLE, Part

Array = npt.NDArray[Any]
RANDOM, SCORE = "random", "mutual-information"
SCORES = ("predictive-entropy", "mutual-information", "variation-ratios", "error-count")
"""H, J, V and E of the source."""
OUTLIERS = (0.0, 0.05, 0.125)
"""Shares passed over; the source's are 0, 5 and 12.5 %."""
_KEPT_IN_MEMORY = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One comparison in one trial."""

    images: str
    kind: str
    """``build-up mutual-information``, ``compress``, ``transfer cnn:8``, ..."""
    trial: int
    sizes: tuple[int, ...] = ()
    together: tuple[float, ...] = ()
    """Test accuracy of the members' mean probability, by size."""
    alone: tuple[float, ...] = ()
    """Of the last epoch of each run, their mean, by size."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else was counted."""
    seconds: float = 0.0

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Cell:
        """Inverse of ``dataclasses.asdict``, lists back to tuples."""
        return cls(**with_tuples(plain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All cells of a study."""

    preset: str
    cells: tuple[Cell, ...]
    seconds: float
    """Spent on the cells, in this call and before."""

    def of(self, images: str, kind: str) -> tuple[Cell, ...]:
        """The trials of one comparison."""
        return tuple(cell for cell in self.cells if (cell.images, cell.kind) == (images, kind))


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
        only: image sets; empty = all of the preset.
        part: trials that are made; the comparison holds no others.
    Raises:
        UsageError: no such preset or set.
        DataError: the image sets are not there.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    size, told = PRESETS[preset], progress or Silent()
    names = _names(size, only)
    source = data_folder(data) if set(names) - {DIGITS} else Path()
    cells: list[Cell] = []
    for name in names:
        images = image_set(name, source, cache=folder / "images")
        bench = Bench(images=images, setting=size.sets[name], folder=folder)
        trials = part.among(range(bench.setting.trials))
        todo = [(kind, trial) for trial in trials for kind in kinds(size.sets[name])]
        told.start(f"searching {name}", len(todo))
        for kind, trial in todo:
            blank = Cell(images=name, kind=kind, trial=trial)
            path = folder / "cells" / bench.digest / _name(blank)
            cells.append(kept_cell(path, Cell, partial(_run_cell, bench, blank)))
            told.advance(1)
        told.done()
    return Comparison(preset=preset, cells=tuple(cells), seconds=sum(cell.seconds for cell in cells))


def kinds(setting: Setting) -> list[str]:
    """Every comparison of a trial."""
    return [
        *(f"build-up {score}" for score in (RANDOM, *SCORES)),
        "build-up one-run",
        "compress",
        "pretrain",
        *(f"outliers {share:g}" for share in OUTLIERS),
        "consensus",
        *(f"transfer {target}" for target in setting.targets),
    ]


def _names(size: Preset, only: Sequence[str]) -> list[str]:
    if unknown := [name for name in only if name not in size.sets]:
        raise UsageError(f"this preset has no image set {unknown[0]!r}; it has {', '.join(size.sets)}")
    return list(only) or list(size.sets)


def _name(blank: Cell) -> str:
    return f"{blank.images}-{blank.trial}-{blank.kind.replace(' ', '-').replace(':', '')}.json"


def _run_cell(bench: Bench, blank: Cell) -> Cell:
    began = time.perf_counter()
    what, _, which = blank.kind.partition(" ")
    found = {
        "build-up": _build_up,
        "compress": _compress,
        "pretrain": _pretrain,
        "outliers": _outliers,
        "consensus": _consensus,
        "transfer": _transfer,
    }[what](bench, blank.trial, which)
    return Cell(**{**asdict(blank), **found, "seconds": round(time.perf_counter() - began, 2)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the kept epochs of one or several runs say."""

    pool: Array
    """(e, n, c) logits; (e, 0, c) where nobody ranks by them."""
    test: Array
    """(e, m, c)"""
    runs: int

    @property
    def finals(self) -> Array:
        """(runs, m, c) of the last epoch of each run."""
        each = len(self.test) // self.runs
        final: Array = self.test[each - 1 :: each]
        return final


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What trains and answers; what it said last stays in memory, since several cells begin alike."""

    images: ImageSet
    setting: Setting
    folder: Path
    _memory: dict[str, Said] = field(default_factory=dict)
    _parts: dict[str, list[Rows]] = field(default_factory=dict)
    _weights: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of all that a cell depends on beside its name: more trials redo nothing."""
        setting = asdict(self.setting)
        del setting["trials"]
        return digest_value([{**setting, "engine": self.engine}, self.images.name, foresift_version()])[:12]

    @property
    def engine(self) -> str:
        """What checkpoints answer with."""
        return self.setting.engine if self.setting.engine in available() else REFERENCE

    @property
    def counts(self) -> tuple[int, ...]:
        """The sizes in samples."""
        return counts_of(self.setting.sizes, len(self.images.codes))

    @property
    def whole(self) -> Rows:
        """Every row of the pool."""
        return np.arange(len(self.images.codes))

    def start(self, trial: int) -> Rows:
        """The random part that ``build-up`` begins with."""
        n = len(self.images.codes)
        return random_rows(n, start_count(self.counts[0], None, n), seed=trial)

    def several(
        self,
        rows: Rows,
        *,
        trial: int,
        runs: int | None = None,
        last: int | None = None,
        after: Rows | None = None,
        ranks: bool = False,
    ) -> Said:
        """The members that learned from some rows; ``after`` = having learned from those before.

        Args:
            ranks: whether they are asked about the pool too, which costs as much as the test part.
        """
        how = [self.setting.last if last is None else last, self.setting.runs if runs is None else runs]
        parts = [
            self.one(self.setting.model, rows, seed=1_000 * trial + seed, last=how[0], after=after, ranks=ranks)
            for seed in range(how[1])
        ]
        return Said(
            pool=np.concatenate([part.pool if ranks else part.pool[:, :0] for part in parts]),
            test=np.concatenate([part.test for part in parts]),
            runs=how[1],
        )

    def one(
        self, model: str, rows: Rows, *, seed: int, last: int, after: Rows | None = None, ranks: bool = False
    ) -> Said:
        """One run: its last epochs' answers on the test part and, where it ranks, on the pool."""
        before = None if after is None else digest_array(after)
        key = digest_value([model, digest_array(rows), seed, last, before])
        said = self._memory.get(key)
        if said is None or (ranks and not said.pool.shape[1]):
            while len(self._memory) >= _KEPT_IN_MEMORY:
                del self._memory[next(iter(self._memory))]
            said = self._memory[key] = _learn(
                self, model, np.sort(rows), seed=seed, last=last, after=after, ranks=ranks
            )
        return said

    def accuracy(self, logits: Array) -> float:
        """Of the mean probability of (e, m, c) test logits, within [0, 1]."""
        z = logits.astype(np.float64)
        weights = np.exp(z - z.max(axis=2, keepdims=True))
        mean = (weights / weights.sum(axis=2, keepdims=True)).mean(axis=0)
        return float((mean.argmax(axis=1) == self.images.test_codes).mean())

    def scored(self, said: Said) -> dict[str, float]:
        """Both accuracies."""
        alone = [self.accuracy(one[None]) for one in said.finals]
        return {"together": self.accuracy(said.test), "alone": float(np.mean(alone))}

    def ranked(self, said: Said, score: str, *, held: Rows, count: int, trial: int) -> Rows:
        """(count,) rows beside those that are held, the largest score first."""
        ids = self.whole
        predictions = Predictions.from_arrays(ids, member_logits=said.pool)
        chosen = parse(score)
        truth = self.images.codes if "truth" in chosen.needs else None
        found = chosen.select(predictions, budget=count, labeled=held, truth=truth, seed=trial)
        return found.sample_ids.astype(np.intp)


def _learn(bench: Bench, model: str, rows: Rows, *, seed: int, last: int, after: Rows | None, ranks: bool) -> Said:
    import tempfile

    from safetensors.torch import load_file

    from foresift.models import build
    from foresift.training.checkpoints import kept_epochs
    from foresift.training.data import ArrayImages
    from foresift.training.recipe import Recipe
    from foresift.training.supervised import train

    images, setting = bench.images, bench.setting
    network = build(model, classes=len(images.classes), image_size=images.transform.size, seed=seed)
    with tempfile.TemporaryDirectory(dir=bench.folder) as scratch:

        def learn(part: Rows, recipe: Recipe, name: str) -> None:
            some = ArrayImages.from_array(images.pixels[part], images.transform)
            train(network, some, images.codes[part], recipe=recipe, seed=seed, folder=Path(scratch) / name)

        if after is not None:
            key = digest_value([model, digest_array(after), seed])
            if key not in bench._weights:
                learn(after, Recipe.from_dict(setting.recipe), "before")
                bench._weights[key] = copy.deepcopy(network.state_dict())
            network.load_state_dict(bench._weights[key])
        tuned = {**setting.recipe, **(setting.fine_tune if after is not None else {})}
        recipe = Recipe.from_dict({**tuned, "keep_checkpoints": min(last, int(tuned["epochs"]))})
        learn(rows, recipe, "run")
        pool, test = [], []
        for file in kept_epochs(Path(scratch) / "run"):
            network.load_state_dict(load_file(file))
            answer = partial(_forward, network, images, engine=bench.engine)
            pool.append(answer(images.pixels if ranks else images.pixels[:0]))
            test.append(answer(images.test_pixels))
    return Said(pool=np.stack(pool), test=np.stack(test), runs=1)


def _forward(network: Any, images: ImageSet, pixels: Array, *, engine: str, batch: int = 100) -> Array:
    """(m, c) logits, m >= 0."""
    from foresift.engines import make_engine
    from foresift.models import ScoringModule

    if not len(pixels):
        return np.zeros((0, len(images.classes)), dtype=np.float32)
    made = make_engine(engine, ScoringModule(network, images.transform), size=images.transform.size, batch=batch)
    return np.concatenate([made(pixels[at : at + batch]).logits for at in range(0, len(pixels), batch)])


def _stages(bench: Bench, parts: Sequence[Rows], said: Callable[[Rows], Said]) -> dict[str, Any]:
    """Both accuracies of what learned from each part."""
    scored = [bench.scored(said(part)) for part in parts]
    return {
        "sizes": [len(part) for part in parts],
        "together": [one["together"] for one in scored],
        "alone": [one["alone"] for one in scored],
    }


def _build_up(bench: Bench, trial: int, score: str) -> dict[str, Any]:
    """Sizes that grow by what the ensemble of the size before ranks first."""
    runs = 1 if score == "one-run" else None
    chosen = SCORE if score == "one-run" else score
    return _stages(bench, _grown(bench, trial, chosen, runs=runs), partial(bench.several, trial=trial, runs=runs))


def _grown(bench: Bench, trial: int, score: str, *, runs: int | None = None) -> list[Rows]:
    """The part of each size; several cells begin with them."""
    key = f"{trial} {score} {runs}"
    if key not in bench._parts:
        bench._parts[key] = _grow(bench, trial, score, runs=runs)
    return bench._parts[key]


def _grow(bench: Bench, trial: int, score: str, *, runs: int | None) -> list[Rows]:
    held, parts = bench.start(trial), []
    for count in bench.counts:
        if score == RANDOM:
            held = random_rows(len(bench.whole), count, seed=trial)
        else:
            said = bench.several(held, trial=trial, runs=runs, ranks=True)
            more = bench.ranked(said, score, held=held, count=count - len(held), trial=trial)
            held = np.sort(np.concatenate([held, more]))
        parts.append(held)
    return parts


def _best(bench: Bench, trial: int, *, passed: int = 0) -> list[Rows]:
    """The best-ranked part of each size by an ensemble that knows everything."""
    teachers = bench.several(bench.whole, trial=trial, ranks=True)
    none = bench.whole[:0]
    order = bench.ranked(
        teachers, SCORE, held=none, count=min(len(bench.whole), bench.counts[-1] + passed), trial=trial
    )
    return [order[passed : passed + count] for count in bench.counts]


def _compress(bench: Bench, trial: int, _which: str) -> dict[str, Any]:
    found = _stages(bench, _best(bench, trial), partial(bench.several, trial=trial))
    return {**found, "counts": {"full": bench.scored(bench.several(bench.whole, trial=trial))}}


def _pretrain(bench: Bench, trial: int, _which: str) -> dict[str, Any]:
    return _stages(bench, _best(bench, trial), partial(bench.several, trial=trial, after=bench.whole))


def _outliers(bench: Bench, trial: int, share: str) -> dict[str, Any]:
    passed = round(float(share) * len(bench.whole))
    return _stages(bench, _best(bench, trial, passed=passed)[-1:], partial(bench.several, trial=trial))


def _consensus(bench: Bench, trial: int, _which: str) -> dict[str, Any]:
    """On the samples that are left: how many of them the last epochs of one run agree on; and what members add."""
    part = _grown(bench, trial, SCORE)[-2]
    left = np.setdiff1d(bench.whole, part)
    one = bench.several(part, trial=trial, runs=1, last=bench.setting.longest, ranks=True)
    told = Consensus(len(left))
    for logits in one.pool[::-1]:
        told.add(logits[left].argmax(axis=1))
    every = bench.several(part, trial=trial, last=bench.setting.longest)
    accuracy = {
        "1 checkpoint": bench.accuracy(one.test[-1:]),
        f"last {bench.setting.last} of one run": bench.accuracy(one.test[-bench.setting.last :]),
        f"last {len(one.test)} of one run": bench.accuracy(one.test),
        f"combined, {len(every.test)}": bench.accuracy(every.test),
    }
    return {"counts": {"of": len(left), "joint": told.joint, "pairs": told.pairs, "accuracy": accuracy}}


def _transfer(bench: Bench, trial: int, target: str) -> dict[str, Any]:
    """One architecture on a random, the found and the whole set."""
    found = _grown(bench, trial, SCORE)[-1]
    sets = {
        "random": random_rows(len(bench.whole), len(found), seed=trial),
        "found": found,
        "full": bench.whole,
    }
    said = {name: bench.one(target, rows, seed=1_000 * trial, last=1) for name, rows in sets.items()}
    return {"sizes": [len(found)], "counts": {name: bench.accuracy(one.test) for name, one in said.items()}}
