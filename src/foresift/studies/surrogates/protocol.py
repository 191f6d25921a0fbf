"""What a transfer study compares: models, strategies, seeds, cycles, and how models are trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from foresift.core.errors import UnknownNameError, UsageError

RANDOM, TRUE_LOSS, AUTO = "random", "true-loss", "auto"
LEARNERS = ("pixels", "heads", "segmentation")
TEST, DEVELOPMENT = "test", "development"
PAPER_SHARE, PAPER_CYCLES = 0.02, 10
"""2 % of the pool in each of ten cycles, the first of them random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """How every model of a study is trained, whoever chose the labels.

    Raises:
        UsageError: a value out of range.
    """

    epochs: int = 40
    batch: int = 64
    """A last batch that is not full is left out, unless it is the only one."""
    lr: float = 0.01
    """Peak of a one-cycle schedule (``adamw``), or start of a polynomial one (``sgd``)."""
    optimizer: str = "adamw"
    weight_decay: float = 1e-4
    augment: str = "none"
    """``none`` or ``flip-crop``."""
    pretrained: bool = False
    """Start from published weights, where there are any."""
    precision: str = "32"
    """``32``, or ``bf16``: training in mixed precision, up to twice as fast where the processor has bfloat16."""

    def __post_init__(self) -> None:
        _within("recipe.optimizer", self.optimizer, ("adamw", "sgd"))
        _within("recipe.precision", self.precision, ("32", "bf16"))
        _within("recipe.augment", self.augment, ("none", "flip-crop"))
        _at_least("recipe.epochs", self.epochs, 1)
        _at_least("recipe.batch", self.batch, 1)
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise UsageError(f"recipe.{name} must be a finite number of 0 or more, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One table of a study: every surrogate chooses for every deployment model.

    Raises:
        UsageError: a value out of range, or a model twice.
    """

    title: str = ""
    images: str = "digits"
    """An image set: ``digits``, those of ``foresift study strategies``, ``camvid``, or a folder below the data's, with
    masks or (``train/CLASS/*.JPEG`` and ``val/CLASS/*.JPEG``) with classes, such as ``imagenet``."""
    judged_on: str = TEST
    """``test``, or ``development``: a fifth of the pool that nothing chooses from; the test part stays unread.
    Settings are chosen with the latter and ``first_seed``."""
    learner: str = "pixels"
    """``pixels``: networks from scratch; ``heads``: heads on embeddings; ``segmentation``."""
    models: tuple[str, ...] = ("linear", "mlp:16", "mlp:128", "cnn:8", "cnn:24")
    surrogates: tuple[str, ...] = ()
    """The models that choose; empty: all of them."""
    strategies: tuple[str, ...] = ("entropy", "margin", TRUE_LOSS, AUTO)
    cycles: int = PAPER_CYCLES
    """Purchases of labels; the first is random and shared by all."""
    share: float = PAPER_SHARE
    """Of the pool, bought in each cycle, rounded to the nearest label."""
    budget: int = 0
    """Labels in each cycle, in place of ``share``; 0 = by share."""
    seeds: int = 4
    first_seed: int = 0
    """Choices of a recipe belong to other seeds than those that are reported."""
    recipe: Lessons = field(default_factory=Lessons)
    backbone: str = ""
    """Of self-supervised embeddings, for heads and for ``auto``; empty: the pixels themselves."""
    backbone_epochs: int = 20
    side: int = 0
    """Pixels of the longer side of an image with a mask (0 = as it is), or of the square from a folder of classes."""
    pilots: int = 0
    """Splits of the labels that each pair's pilot replay takes; 0 = none."""
    probes: bool = True
    """Whether each model is trained 7 times more on random labels, for histograms and suitability."""
    curves: bool = True
    """Whether the random arm is trained after every cycle, for the learning curves."""
    cut: tuple[str, ...] = ()
    """What differs from the paper's protocol."""

    def __post_init__(self) -> None:
        _within("learner", self.learner, LEARNERS)
        _within("judged_on", self.judged_on, (TEST, DEVELOPMENT))
        for name, least in (("cycles", 2), ("seeds", 1), ("first_seed", 0), ("budget", 0), ("pilots", 0), ("side", 0)):
            _at_least(name, getattr(self, name), least)
        if not 0 < self.share * self.cycles <= 1 and not self.budget:
            raise UsageError(f"share x cycles must be above 0 and at most 1, got {self.share:g} x {self.cycles}")
        for name in ("models", "strategies"):
            names = getattr(self, name)
            if not names or len(set(names)) < len(names):
                raise UsageError(f"{name} must be different names, at least one, got {', '.join(names) or 'none'}")
        if unknown := [name for name in self.surrogates if name not in self.models]:
            raise UnknownNameError("surrogate", unknown[0], self.models)
        if RANDOM in self.strategies:
            raise UsageError("random is always compared with; leave it out of strategies")

    @property
    def choosers(self) -> tuple[str, ...]:
        """The models that choose, in the order of ``models``."""
        return tuple(name for name in self.models if not self.surrogates or name in self.surrogates)

    @property
    def judges(self) -> str:
        """What models are judged on, in words."""
        return "the test part" if self.judged_on == TEST else "a development part held out of the pool"

    @property
    def every_seed(self) -> range:
        """The seeds that are run."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def half(self) -> int:
        """Cycles of random labels after which histograms are taken: 10 % of the pool where 20 % is the end."""
        return max(1, self.cycles // 2)

    def labels_of(self, n: int) -> int:
        """Labels bought in each cycle from a pool of n.

        Raises:
            UsageError: more labels than there are images.
        """
        labels = self.budget or max(1, round(self.share * n))
        if labels * self.cycles > n:
            raise UsageError(f"{self.cycles} cycles of {labels} labels are more than the pool's {n} images")
        return labels

    def same_training(self) -> dict[str, Any]:
        """What a single training depends on beside its labels; other fields may change without redoing it."""
        names = ("images", "learner", "backbone", "backbone_epochs", "side")
        judges = {} if self.judged_on == TEST else {"judged_on": self.judged_on}
        return {name: getattr(self, name) for name in names} | {"recipe": asdict(self.recipe)} | judges


def _within(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UsageError(f"{name} must be {least} or more, got {value!r}")
