"""What learns and answers in a study of ensembles; what it said last stays in memory, since comparisons begin alike."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.about import foresift_version
from foresift.core.arrays import Rows
from foresift.core.digests import digest_array, digest_value
from foresift.core.predictions import Predictions
from foresift.cycle.search import counts_of, random_rows, start_count
from foresift.engines import REFERENCE, available
from foresift.strategies import parse
from foresift.studies.ensembles.presets import Setting
from foresift.studies.image_sets import ImageSet

Array = npt.NDArray[Any]
_KEPT_IN_MEMORY = 12


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
    parts: dict[str, list[Rows]] = field(default_factory=dict)
    """The parts that comparisons grew; several begin with them."""
    """Of comparisons that were grown already."""
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
