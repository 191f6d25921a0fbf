"""Cells of a transfer study: who chose what, how good a model became of it; each is made once and is a file.

A cell is named by what it depends on: the model, the seed and the digest of the labels it learned
from. So a longer study, or one with more models, redoes nothing, and strategies that choose the
same labels share their trainings.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foresift.core.about import foresift_version
from foresift.core.arrays import Rows
from foresift.core.digests import digest_array, digest_value
from foresift.kernels.softmax_head import stratified_folds
from foresift.stores.files import read_json, write_atomically
from foresift.studies.cells import write_cell
from foresift.studies.surrogates.benches import Bench, Taught, UnfitError
from foresift.studies.surrogates.protocol import AUTO, RANDOM, Protocol

CELLS = "cells"
"""Folder of the finished ones."""
FOLDS = 5
KEPT_MODELS = 2
"""Trained models kept in memory, beside every model on the first labels, from which all strategies start."""
SEED_STEP = 1_000
SECOND_SEED = 500_009
"""Added to a seed for the second training whose agreement with the first is the reliability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How good a model became on some labels."""

    quality: float
    fit: float
    """On the labels that it learned from: a model that can't fit them gains nothing from hard ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """A rehearsal on labels already owned, one split: half of one half is chosen, the other half judges."""

    chosen: float
    random: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is known of a model after random labels, before anything was chosen by it."""

    rows: Rows
    """(m,) labels that it learned from."""
    pool: dict[str, Any]
    """Score to (n,) values over the pool."""
    again: dict[str, Any]
    """The same of a second training with another seed."""
    fold: dict[str, Any]
    """Score to (m,) values of the labeled rows, each by a model that did not learn from it."""


@dataclass(kw_only=True)
class Cells:
    """Makes cells that are missing, reads those that are there."""

    bench: Bench
    protocol: Protocol
    folder: Path
    note: Callable[[], None] = lambda: None
    """Called after every choice, training and rehearsal, made or read."""
    trained: int = 0
    """Trainings of this call."""
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    """(model, strategy) that give no result, and why."""
    _drawn: dict[int, tuple[Rows, ...]] = field(default_factory=dict)
    _models: OrderedDict[str, Taught] = field(default_factory=OrderedDict)
    _first: OrderedDict[str, Taught] = field(default_factory=OrderedDict)

    @property
    def labels(self) -> int:
        """Labels bought in each cycle."""
        return self.protocol.labels_of(self.bench.count)

    def start(self, seed: int) -> Rows:
        """The random labels that everyone starts from."""
        return self.drawn(seed)[0]

    def drawn(self, seed: int) -> tuple[Rows, ...]:
        """Random labels after every cycle."""
        if seed not in self._drawn:
            self._drawn[seed] = self.choices(RANDOM, "", seed)
        return self._drawn[seed]

    def choices(self, strategy: str, model: str, seed: int) -> tuple[Rows, ...]:
        """Labels after every cycle, the first random: what a surrogate chooses with a strategy.

        Raises:
            UnfitError: this strategy can't work with this model.
        """
        known = np.empty(0, dtype=np.intp)
        sets = []
        for cycle in range(self.protocol.cycles):
            here = RANDOM if cycle == 0 else strategy
            known = np.concatenate([known, self._picked(here, model, known, cycle, seed)])
            sets.append(known)
        return tuple(sets)

    def offered(self, strategy: str, model: str, seed: int) -> tuple[Rows, ...] | None:
        """The choices, or None where the strategy can't work with the model; the reason is kept."""
        try:
            return self.choices(strategy, model, seed)
        except UnfitError as error:
            self.refused[model, strategy] = str(error)
            return None

    def training(self, model: str, rows: Rows, seed: int) -> Training:
        """A model trained on exactly these labels."""
        key = self._key("training", model, seed, _digest(rows))
        plain = self._kept(key, lambda: asdict(self._training(self._taught(model, rows, seed))))
        self.note()
        return Training(**plain)

    def probe(self, model: str, seed: int) -> Probe:
        """Scores of the pool, of a second training, and out of fold, after random labels."""
        rows = np.sort(self.drawn(seed)[self.protocol.half - 1])
        path = self._path(self._key("probe", model, seed, _digest(rows), self.bench.scores)).with_suffix(".npz")
        if not path.exists():
            arrays = self._probed(model, rows, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda target: _savez(target, arrays))
        with np.load(path, allow_pickle=False) as held:
            parts = {part: {s: held[f"{part}-{s}"] for s in self.bench.scores} for part in ("pool", "again", "fold")}
        return Probe(rows=rows, **parts)

    def pilots(self, surrogate: str, deployment: str, score: str, seed: int) -> list[Pilot]:
        """Rehearsals on the probe's labels, one for every split."""
        probe = self.probe(surrogate, seed)
        return [self._pilot(probe, surrogate, deployment, score, seed, at) for at in range(self.protocol.pilots)]

    def _picked(self, strategy: str, model: str, known: Rows, cycle: int, seed: int) -> Rows:
        """The labels of one cycle; those who choose without a model choose the same for all."""
        really = self._really(strategy, known, seed)
        needs = self.bench.needs(really)
        key = self._key("choice", model if needs else "", really, self.labels, seed, cycle, _digest(known))

        def choose() -> dict[str, Any]:
            taught = self._taught(model, known, seed, needs) if needs else None
            picked = self.bench.choose(
                really, taught, np.sort(known), budget=self.labels, seed=SEED_STEP * seed + cycle
            )
            return {"strategy": really, "picked": picked.tolist()}

        picked = self._kept(key, choose)["picked"]
        self.note()
        return np.asarray(picked, dtype=np.intp)

    def _really(self, strategy: str, known: Rows, seed: int) -> str:
        """What runs: only ``auto`` decides by what is known, which is a cell of its own."""
        if strategy != AUTO:
            return strategy
        key = self._key("rule", seed, _digest(known))
        return str(self._kept(key, lambda: {"strategy": self.bench.resolve(known, seed=seed)})["strategy"])

    def _pilot(self, probe: Probe, surrogate: str, deployment: str, score: str, seed: int, split: int) -> Pilot:
        key = self._key("pilot", surrogate, deployment, score, seed, split, FOLDS, _digest(probe.rows))

        def rehearse() -> dict[str, float]:
            order = np.random.default_rng([seed, split, 17]).permutation(len(probe.rows))
            mine, judges = order[: len(order) // 2], order[len(order) // 2 :]
            take = len(mine) // 2
            best = mine[np.argsort(-probe.fold[score][mine], kind="stable")[:take]]
            scored = {"chosen": best, "random": mine[:take]}
            return {
                arm: self._judged(deployment, probe.rows[at], probe.rows[judges], seed, split)
                for arm, at in scored.items()
            }

        plain = self._kept(key, rehearse)
        self.note()
        return Pilot(**plain)

    def _judged(self, model: str, rows: Rows, judges: Rows, seed: int, split: int) -> float:
        """Minus the mean loss on the judging half: finer than accuracy where labels are few."""
        key = self._key("judged", model, seed, split, _digest(rows), _digest(judges))

        def judge() -> dict[str, float]:
            taught = self._taught(model, rows, seed)
            return {"gain": -float(np.mean(self.bench.values(taught, "loss")[judges]))}

        return float(self._kept(key, judge)["gain"])

    def _probed(self, model: str, rows: Rows, seed: int) -> dict[str, Any]:
        first = self._taught(model, rows, seed)
        second = self._taught(model, rows, seed + SECOND_SEED)
        arrays = {}
        for score in self.bench.scores:
            arrays[f"pool-{score}"] = self.bench.values(first, score)
            arrays[f"again-{score}"] = self.bench.values(second, score)
            arrays[f"fold-{score}"] = np.zeros(len(rows), dtype=np.float32)
        folds = stratified_folds(np.zeros(len(rows), dtype=np.intp), FOLDS, np.random.default_rng([seed, 29]))
        for fold in range(FOLDS):
            held = folds == fold
            taught = self._taught(model, rows[~held], seed)
            for score in self.bench.scores:
                arrays[f"fold-{score}"][held] = self.bench.values(taught, score)[rows[held]]
        return arrays

    def _taught(self, model: str, rows: Rows, seed: int, needs: Sequence[str] = ()) -> Taught:
        """A trained model, from memory if it was one of the last; its training cell is written as well."""
        extra = tuple(name for name in needs if name not in ("logits", "embeddings"))
        rows = np.sort(rows)  # what a model learns does not depend on the order in which its labels were bought
        key = self._key("model", model, seed, _digest(rows), extra)
        for held in (self._models, self._first):
            if key in held:
                return held[key]
        taught = self.bench.teach(model, rows, seed=seed, needs=extra)
        self.trained += 1
        first = len(rows) == self.labels
        held, most = (self._first, len(self.protocol.models)) if first else (self._models, KEPT_MODELS)
        held[key] = taught
        if len(held) > most:
            held.popitem(last=False)
        if not extra:
            path = self._path(self._key("training", model, seed, _digest(rows)))
            if not path.exists():
                write_cell(path, asdict(self._training(taught)))
        return taught

    def _training(self, taught: Taught) -> Training:
        return Training(quality=taught.quality, fit=taught.fit)

    def _kept(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self._path(key)
        if path.exists():
            plain: dict[str, Any] = read_json(path)
        else:
            plain = make()
            write_cell(path, plain)
        return plain

    def _key(self, kind: str, *parts: Any) -> str:
        plain = [part.tolist() if isinstance(part, np.ndarray) else part for part in parts]
        images = [self.bench.identity] if self.bench.identity else []
        return f"{kind}-{digest_value([foresift_version(), self.protocol.same_training(), plain, *images])[:20]}"

    def _path(self, key: str) -> Path:
        return self.folder / CELLS / f"{key}.json"


def _digest(rows: Rows) -> str:
    return digest_array(np.sort(rows).astype(np.int64))[:20]


def _savez(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
