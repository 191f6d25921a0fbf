"""Learning curves that agents are replayed on: every strategy run to the end on labels of its own.

In a trial with an arm for each strategy no arm knows of another. So one run of every arm to the end
answers for each agent of that kind, whatever it would have dropped. The agent that shares one
labeled set is the exception: its runs are cells of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foresift.core.arrays import Rows, frozen
from foresift.core.digests import digest_array
from foresift.core.predictions import Column, Predictions
from foresift.cycle.forecast import Point
from foresift.cycle.shared import SharedThompson
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Id, Outcome, run
from foresift.kernels.softmax_head import stratified_folds
from foresift.strategies import Strategy, parse
from foresift.studies.cells import with_tuples
from foresift.studies.learners import STUDY
from foresift.studies.surrogates.benches import LABEL_NEEDS, Classifying, HeadBench, PixelBench, Taught

RANDOM, SHARED = "random", "shared"
PAPER = ("least-confidence", "margin", "ratio", "entropy", "k-center", "core-set:outliers=0.01", "diverse-mini-batch")
"""LC, MC, RC, ES, KCG, CoreSet and DBAL; with the outliers of its paper, one in ten thousand, core-set would be
k-center on pools of this size, and the trial would hold one arm twice."""
EVALUATION = 5
"""One in so many images of the pool's part is for evaluation, as in a run; agents see nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One image set: how labels are bought and learned from."""

    images: str
    learner: str
    """``pixels`` or ``heads``, as in a transfer study."""
    model: str
    budget: int
    """Labels that an arm buys in a round, and random labels that all start with."""
    rounds: int = 8
    seeds: int = 10
    strategies: tuple[str, ...] = (*PAPER, RANDOM)
    backbone: str = ""
    backbone_epochs: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One strategy to the end, or one run of the agent that shares a labeled set."""

    images: str
    strategy: str
    """As given; ``shared`` for the agent."""
    seed: int
    seen: tuple[float, ...]
    """(rounds + 1,) accuracy on the evaluation set, which decides."""
    true: tuple[float, ...]
    """(rounds + 1,) accuracy on the test part, which judges."""
    purchases: tuple[tuple[int, ...], ...]
    """Rows bought in each round; what all start with is not among them."""
    drawn: tuple[str, ...] = ()
    """Who bought in each round, where strategies share one labeled set."""
    start: int
    """Labels that all start with."""
    evaluation_size: int

    @property
    def points(self) -> tuple[Point, ...]:
        """What an agent sees of it."""
        labels = np.cumsum([self.start, *(len(bought) for bought in self.purchases)])
        return tuple(Point(int(n), accuracy) for n, accuracy in zip(labels, self.seen, strict=True))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Arm:
        """Inverse of ``dataclasses.asdict``, lists back to tuples."""
        values = with_tuples(plain)
        return cls(**values | {"purchases": tuple(tuple(bought) for bought in values["purchases"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model with both of its accuracies."""

    taught: Taught
    seen: float
    true: float


@dataclass(kw_only=True)
class Ground:
    """What all arms of a seed stand on: pool, evaluation set, first labels; models by their labels."""

    bench: PixelBench | HeadBench
    setting: Setting
    seed: int
    pool: Rows
    evaluation: Rows
    start: Rows
    _first: Model | None = None
    _last: tuple[str, Model] | None = field(default=None, repr=False)

    def arm(self, strategy: str) -> Arm:
        """A strategy buys for itself in every round."""
        known, model = self.start, self.model(self.start)
        models, bought = list[Model](), list[tuple[int, ...]]()
        for number in range(1, self.setting.rounds + 1):
            picked = self.picked(strategy, model.taught, known, budget=self.setting.budget, number=number)
            known = np.concatenate([known, picked])
            model = self.model(known)
            models.append(model)
            bought.append(tuple(picked.tolist()))
        return self._arm(strategy, models, tuple(bought))

    def shared(self) -> Arm:
        """Thompson sampling draws who buys for the one labeled set; no stop but that of the rounds."""
        setting, models = self.setting, list[Model]()
        stop = StopRules(max_labels=setting.rounds * setting.budget, patience=setting.rounds + 1)
        agent = SharedThompson(strategies=setting.strategies, budget=setting.budget, stop=stop, seed=self.seed)

        def learner(strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
            known = np.concatenate([self.start, np.array(labels, dtype=np.intp)])
            number = len(models) + 1
            picked = self.picked(strategy, self.model(known).taught, known, budget=budget, number=number)
            models.append(self.model(np.concatenate([known, picked])))
            return Outcome(models[-1].seen, tuple(picked.tolist()))

        first = self.model(self.start)
        trial = run(
            agent,
            agent.start(accuracy=first.seen, labels=len(self.start), evaluation_size=len(self.evaluation)),
            learner,
        )
        bought = tuple(tuple(int(i) for i in turn.purchases) for turn in trial.turns)
        return self._arm(SHARED, models, bought, drawn=tuple(turn.strategy for turn in trial.turns))

    def model(self, known: Rows) -> Model:
        """Trained on these labels; the first one and the last one are remembered."""
        if len(known) == len(self.start):
            self._first = self._first or self._trained(known)
            return self._first
        key = digest_array(np.sort(known).astype(np.int64))
        if self._last is None or self._last[0] != key:
            self._last = key, self._trained(known)
        return self._last[1]

    def picked(self, strategy: str, taught: Taught, known: Rows, *, budget: int, number: int) -> Rows:
        """Rows of the pool that a strategy buys in a round."""
        chosen = parse(strategy)
        found = chosen.select(
            _view(chosen, taught, self.bench).take(self.pool),
            budget=budget,
            labeled=known,
            labels=self.bench.images.codes[known] if "labels" in (*chosen.needs, *chosen.uses) else None,
            seed=1_000 * self.seed + number,
        )
        return found.sample_ids.astype(np.intp)

    def _trained(self, known: Rows) -> Model:
        taught = self.bench.teach(self.setting.model, np.sort(known), seed=self.seed)
        judged = taught.columns["logits"]()[self.evaluation].argmax(axis=1)
        right = judged == self.bench.images.codes[self.evaluation]
        return Model(taught=taught, seen=float(right.mean()), true=taught.quality)

    def _arm(
        self, strategy: str, models: list[Model], bought: tuple[tuple[int, ...], ...], drawn: tuple[str, ...] = ()
    ) -> Arm:
        every = [self.model(self.start), *models]
        return Arm(
            images=self.setting.images,
            strategy=strategy,
            seed=self.seed,
            seen=tuple(model.seen for model in every),
            true=tuple(model.true for model in every),
            purchases=bought,
            drawn=drawn,
            start=len(self.start),
            evaluation_size=len(self.evaluation),
        )


def ground(bench: PixelBench | HeadBench, setting: Setting, seed: int) -> Ground:
    """A fifth of every class for evaluation, the rest a pool, and first labels at random from it."""
    rng = np.random.default_rng([seed, 31])
    fold = stratified_folds(bench.images.codes.astype(np.intp), EVALUATION, rng)
    pool, evaluation = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    start = rng.choice(pool, setting.budget, replace=False)
    return Ground(bench=bench, setting=setting, seed=seed, pool=pool, evaluation=evaluation, start=start)


def _view(strategy: Strategy, taught: Taught, bench: Classifying) -> Predictions:
    """The columns that a strategy needs, of all images."""
    wanted = [name for name in strategy.needs if name not in LABEL_NEEDS]
    columns = {name: Column(values=frozen(taught.columns[name]()), producer=STUDY) for name in wanted}
    return Predictions(sample_ids=np.arange(bench.count), columns=columns)
