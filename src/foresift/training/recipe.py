"""How to train: every hyper-parameter of a supervised run, as one plain value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from foresift.core.errors import UsageError
from foresift.training.recipe_fields import not_numbers, numbers_read

DEFAULT_LR = {"sgd": 0.05, "adamw": 1e-3}
"""At a batch of 64: He et al. 2016 use 0.1 at 128; 0.001 is Adam's own default."""
CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "onecycle", "multistep", "constant"),
    "augment": ("none", "flip-crop", "flip-crop-color", "random-resized-crop", "shift"),
    "precision": ("auto", "32", "bf16"),
    "train": ("all", "head"),
}
MULTISTEP_AT = (0.5, 0.75)
"""Shares of the run after which ``multistep`` divides the rate by ten (He et al. 2016, section 4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Hyper-parameters of one training run.

    Raises:
        UsageError: a value outside its range or choices.
    """

    epochs: int = 20
    batch_size: int = 64
    optimizer: str = "sgd"
    """``sgd`` (Nesterov momentum) or ``adamw``."""
    lr: float | None = None
    """Peak learning rate; None = 0.05 for SGD and 0.001 for AdamW."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    """``cosine`` to zero, ``onecycle`` (up for 30 %, cosine down), ``multistep`` (/10 twice), ``constant``."""
    warmup_epochs: float = 0.0
    """Linear rise from zero before the schedule; ``onecycle`` brings its own."""
    augment: str = "none"
    """``none``, ``flip-crop``, ``flip-crop-color``, ``random-resized-crop``, or ``shift`` (digits: no flips)."""
    label_smoothing: float = 0.0
    precision: str = "auto"
    """``auto`` = bfloat16 where it is faster (CUDA; dense convolutions on CPUs that have it), else 32 bits."""
    train: str = "all"
    """``all``, or ``head``: the backbone stays frozen."""
    head: str = "linear"
    """``linear`` or ``mlp:WIDTH``; used by ``train="head"``."""
    checkpoint_every_epoch: bool = False
    """Keep the weights of every epoch: members of a checkpoint ensemble."""
    keep_checkpoints: int = 0
    """Keep the weights of so many last epochs: members of a checkpoint ensemble."""
    loss_prediction: bool = False
    """Train a module beside the network that predicts its loss (Yoo and Kweon 2019)."""
    loss_prediction_weight: float = 1.0
    """Of its ranking loss beside the cross-entropy."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name in not_numbers(self):
            _refuse(name, "a number", getattr(self, name))
        _require(_counts(self.epochs), "epochs", "a whole number of at least 1", self.epochs)
        _require(_counts(self.batch_size), "batch_size", "a whole number of at least 1", self.batch_size)
        _require(self.lr is None or _positive(self.lr), "lr", "a finite number above 0", self.lr)
        _require(0 <= self.momentum < 1, "momentum", "within [0, 1)", self.momentum)
        _require(0 <= self.weight_decay < math.inf, "weight_decay", "at least 0", self.weight_decay)
        _require(0 <= self.label_smoothing < 1, "label_smoothing", "within [0, 1)", self.label_smoothing)
        in_run = 0 <= self.warmup_epochs < self.epochs
        _require(in_run, "warmup_epochs", "within [0, epochs)", self.warmup_epochs)
        weight = self.loss_prediction_weight
        _require(0 < weight < math.inf, "loss_prediction_weight", "a finite number above 0", weight)
        kept = self.keep_checkpoints
        in_run = isinstance(kept, int) and not isinstance(kept, bool) and 0 <= kept <= self.epochs
        _require(in_run, "keep_checkpoints", f"a whole number within 0 .. epochs ({self.epochs})", kept)
        _require(not kept or self.train == "all", "keep_checkpoints", "0 with train = head", kept)
        if self.loss_prediction:
            _require(self.train == "all", "train", "all with loss_prediction", self.train)
            _require(self.batch_size >= 2, "batch_size", "at least 2 with loss_prediction (pairs)", self.batch_size)
            alone = not self.kept_epochs
            _require(alone, "checkpoint_every_epoch", "off with loss_prediction", self.checkpoint_every_epoch)
        head_width(self.head)

    @property
    def peak_lr(self) -> float:
        """The learning rate, defaults filled in."""
        return self.lr if self.lr is not None else DEFAULT_LR[self.optimizer]

    @property
    def kept_epochs(self) -> range:
        """The epochs whose weights stay; the first epoch is 0."""
        return range(0 if self.checkpoint_every_epoch else self.epochs - self.keep_checkpoints, self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Recipe:
        """Inverse of :meth:`to_dict`.

        Raises:
            UsageError: unknown names, or values out of range.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(plain) - known):
            raise UsageError(f"recipe: unknown {unknown[0]!r} (takes: {', '.join(sorted(known))})")
        return cls(**numbers_read(plain, cls))

    def lr_share(self, step: int, *, total: int) -> float:
        """The learning rate of a step as a share of the peak, within [0, 1].

        Args:
            step: 0 .. total - 1; a closed form, so that resuming needs no scheduler state.
            total: optimizer steps in the whole run.
        """
        warm = 0.3 * total if self.schedule == "onecycle" else self.warmup_epochs / self.epochs * total
        if step < warm:
            return (step + 1) / (warm + 1)
        done = (step - warm) / max(1.0, total - warm)
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "multistep":
            return float(0.1 ** sum(done >= at for at in MULTISTEP_AT))
        return 0.5 * (1 + math.cos(math.pi * done))


def head_width(head: str) -> int | None:
    """The width of ``mlp:WIDTH``, None for ``linear``.

    Raises:
        UsageError: neither.
    """
    if head == "linear":
        return None
    kind, _, width = str(head).partition(":")
    if kind != "mlp" or not width.isdecimal() or not int(width):
        _refuse("head", "linear or mlp:WIDTH", head)
    return int(width)


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _require(fine: bool, name: str, expected: str, came: object) -> None:
    if not fine:
        _refuse(name, expected, came)


def _refuse(name: str, expected: str, came: object) -> None:
    raise UsageError(f"recipe: {name} must be {expected}, got {came!r}")
