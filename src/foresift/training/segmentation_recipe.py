"""How to train a segmentation network: every hyper-parameter of a run, as one plain value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from foresift.core.errors import UsageError
from foresift.training.recipe import DEFAULT_LR, MULTISTEP_AT
from foresift.training.recipe_fields import not_numbers, numbers_read

CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("poly", "multistep", "cosine", "constant"),
    "class_weights": ("none", "balanced"),
    "precision": ("auto", "32", "bf16"),
    "loss_prediction_pair": ("image", "cell"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationRecipe:
    """Hyper-parameters of one run.

    Raises:
        UsageError: a value outside its range or choices.
    """

    epochs: int = 30
    batch_size: int = 8
    optimizer: str = "sgd"
    """``sgd`` (Nesterov momentum) or ``adamw``."""
    lr: float | None = None
    """Peak learning rate; None = 0.05 for SGD and 0.001 for AdamW."""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "poly"
    """``poly``: (1 - step / steps) ** ``poly_power`` (Chen et al. 2018); ``multistep`` (/10 twice); ``cosine``."""
    poly_power: float = 0.9
    class_weights: str = "none"
    """``balanced``: a pixel weighs n / (classes that occur * n of its class), n counting labeled pixels."""
    crop: tuple[int, int] | None = None
    """(height, width) of the random piece of each image that a step sees; None = the whole image."""
    flip: bool = True
    """Mirror half of the images, with their masks, left to right."""
    precision: str = "auto"
    """``auto`` = bfloat16 where it is faster, else 32 bits."""
    loss_prediction: bool = False
    """Train a module beside the network that predicts its loss (Yoo and Kweon 2019)."""
    loss_prediction_weight: float = 1.0
    """Of its ranking loss beside the cross-entropy."""
    loss_prediction_pair: str = "image"
    """What is ranked: ``image``, the mean losses of two images, or ``cell``, each place of them."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, f"one of {', '.join(allowed)}", getattr(self, name))
        for name in not_numbers(self):
            _refuse(name, "a number", getattr(self, name))
        for name in ("epochs", "batch_size"):
            _require(_counts(getattr(self, name)), name, "a whole number of at least 1", getattr(self, name))
        _require(self.lr is None or 0 < self.lr < math.inf, "lr", "a finite number above 0", self.lr)
        _require(0 <= self.momentum < 1, "momentum", "within [0, 1)", self.momentum)
        _require(0 <= self.weight_decay < math.inf, "weight_decay", "at least 0", self.weight_decay)
        _require(0 < self.poly_power < math.inf, "poly_power", "a finite number above 0", self.poly_power)
        sides = self.crop if isinstance(self.crop, tuple | list) else ()
        _require(
            self.crop is None or (len(sides) == 2 and all(map(_counts, sides))),
            "crop",
            "a height and a width of at least 1",
            self.crop,
        )
        weight = self.loss_prediction_weight
        _require(0 < weight < math.inf, "loss_prediction_weight", "a finite number above 0", weight)
        _require(isinstance(self.loss_prediction, bool), "loss_prediction", "true or false", self.loss_prediction)
        pairs = not self.loss_prediction or self.batch_size >= 2
        _require(pairs, "batch_size", "at least 2 with loss_prediction (pairs)", self.batch_size)

    @property
    def peak_lr(self) -> float:
        """The learning rate, defaults filled in."""
        return self.lr if self.lr is not None else DEFAULT_LR[self.optimizer]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; without a word of loss prediction where there is none."""
        plain = asdict(self) | {"crop": None if self.crop is None else list(self.crop)}
        if self.loss_prediction:
            return plain
        # Generations that were trained before it could be asked for keep their records.
        return {name: value for name, value in plain.items() if not name.startswith("loss_prediction")}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SegmentationRecipe:
        """Inverse of :meth:`to_dict`.

        Raises:
            UsageError: unknown names, or values out of range.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(plain) - known):
            raise UsageError(f"recipe: unknown {unknown[0]!r} (takes: {', '.join(sorted(known))})")
        crop = plain.get("crop")
        return cls(**{**numbers_read(plain, cls), "crop": tuple(crop) if isinstance(crop, list) else crop})

    def lr_share(self, step: int, total: int) -> float:
        """The learning rate of step 0 .. total - 1 as a share of the peak, within (0, 1]."""
        done = step / max(1, total)
        if self.schedule == "poly":
            return float((1 - done) ** self.poly_power)
        if self.schedule == "multistep":
            return float(0.1 ** sum(done >= at for at in MULTISTEP_AT))
        return 0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1.0


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _require(fine: bool, name: str, expected: str, came: object) -> None:
    if not fine:
        _refuse(name, expected, came)


def _refuse(name: str, expected: str, came: object) -> None:
    raise UsageError(f"recipe: {name} must be {expected}, got {came!r}")
