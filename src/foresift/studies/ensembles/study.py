"""``foresift study ensembles``: the shape of Chitta et al. 2019, Tables 1-5 and Figures 1-2, on real images.

Trial by trial: every comparison starts from the same random part, the same first weights and the same schedule, so
that differences are paired. Test images serve measuring alone. Every cell is a file, so that an interrupted study
goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.protocols import Progress, Silent
from foresift.cycle.search import random_rows
from foresift.kernels.consensus import Consensus
from foresift.studies.cells import kept_cell, with_tuples
from foresift.studies.ensembles.bench import Bench, Said
from foresift.studies.ensembles.presets import PRESETS, Preset, Setting
from foresift.studies.image_sets import DIGITS, data_folder, image_set
from foresift.studies.parts import WHOLE, Part

Array = npt.NDArray[Any]
RANDOM, SCORE = "random", "mutual-information"
SCORES = ("predictive-entropy", "mutual-information", "variation-ratios", "error-count")
"""H, J, V and E of the source."""
OUTLIERS = (0.0, 0.05, 0.125)
"""Shares passed over; the source's are 0, 5 and 12.5 %."""


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
    if key not in bench.parts:
        bench.parts[key] = _grow(bench, trial, score, runs=runs)
    return bench.parts[key]


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
