"""Trained models and how pixels reach them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from foresift.core.digests import digest_value
from foresift.core.errors import ModelError

GENERATION_FORMAT = 1
CHECKPOINTS = "checkpoints"
"""The folder of weights that were kept after epochs, inside that of the generation."""
LOSS_PREDICTION = "loss-prediction"
"""The part that was trained beside a network to predict its loss."""
RANDOM_WEIGHTS = "random weights"
"""In the recipe, where a network was never trained: every receipt that it has a part in says so."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """From decoded RGB pixels to a square model input; the same in training and in the field."""

    size: int
    """Side of the square input in pixels."""
    resize: str = "squash"
    """``squash``: both sides to ``size``. ``crop``: shorter side to ``size / crop_share``, centre crop."""
    crop_share: float = 0.875
    interpolation: str = "bilinear"
    """``bilinear`` or ``bicubic``, antialiased (Pillow's)."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not _is_integer(self.size) or not 1 <= self.size <= 16_384:
            raise ModelError(f"image size must be within 1 .. 16384, got {self.size!r}")
        if self.resize not in ("squash", "crop") or self.interpolation not in ("bilinear", "bicubic"):
            raise ModelError(f"unknown resize {self.resize!r} or interpolation {self.interpolation!r}")
        if not _is_number(self.crop_share) or not 0 < self.crop_share <= 1:
            raise ModelError(f"crop share must be above 0 and at most 1, got {self.crop_share!r}")
        if len(self.mean) != 3 or not all(map(_is_number, self.mean)):
            raise ModelError(f"mean must be three finite numbers, got {self.mean!r}")
        if len(self.std) != 3 or not all(_is_number(value) and value > 0 for value in self.std):
            raise ModelError(f"std must be three numbers above 0, got {self.std!r}")

    @property
    def digest(self) -> str:
        """40 hexadecimal characters."""
        return digest_value(asdict(self))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Transform:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            ModelError: other fields than a transform's, or values of another kind.
        """
        try:
            values = dict(plain)
            for key in ("mean", "std"):
                if key in values:
                    values[key] = tuple(values[key])
            return cls(**values)
        except (TypeError, ValueError):
            raise ModelError(f"not a complete transform: {str(plain)[:120]}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A trained model as a record; the weights lie beside it as ``model.safetensors``."""

    architecture: str
    """A name that ``foresift models`` lists, such as ``resnet20`` or ``mlp:64``."""
    classes: tuple[str, ...]
    """In the order of the logits; none at all for a backbone that was trained without labels."""
    transform: Transform
    weights: str
    """Digest of the weights file."""
    backbone: str
    """Digest of everything below the last layer: generations with equal ones share stored embeddings."""
    embedding_width: int
    parent: str | None = None
    """Id of the generation whose weights or backbone this one started from."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Pool name and version, number of labeled samples."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    foresift: str = ""
    probe: tuple[float, ...] = ()
    """For the architecture ``custom``: what the module answers to a fixed batch, since its code is not stored."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Digests of further files of weights beside the network's, such as ``loss-prediction.safetensors``."""
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """Digests of the weights that were kept after epochs, by the name of their file below ``checkpoints``."""
    format: int = GENERATION_FORMAT

    @property
    def id(self) -> str:
        """Content digest of the record, weights digest included."""
        return digest_value(self.to_dict())

    @property
    def body(self) -> str:
        """The architecture below the head; dropout before the last layer changes nothing of it."""
        return re.sub(r"[:,]dropout=.*", "", self.architecture.partition("+")[0])

    @property
    def has_head(self) -> bool:
        """Whether it gives logits; without classes only its embeddings mean something."""
        return bool(self.classes)

    @property
    def trained_head_only(self) -> bool:
        """Whether the backbone was frozen, so that logits follow from stored embeddings."""
        return self.recipe.get("train") == "head"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = asdict(self)
        for name in ("probe", "parts", "checkpoints"):  # records without them keep their ids
            if not plain[name]:
                del plain[name]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Generation:
        """Inverse of :meth:`to_dict`; ignores an ``id`` key.

        Raises:
            ModelError: fields are missing, of another kind or of another format.
        """
        if not isinstance(plain, Mapping):
            raise ModelError(f"not a generation record: expected an object, got {type(plain).__name__}")
        if (task := plain.get("task")) is not None:
            raise ModelError(f"a {str(task)[:40]} model, expected a classifier; train and evaluate take others too")
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in plain.items() if key in known}
        if values.get("format") != GENERATION_FORMAT:
            raise ModelError(f"generation format {values.get('format')!r}, expected {GENERATION_FORMAT}")
        for name, (fits, expected) in _KINDS.items():
            if name in values and not fits(values[name]):
                raise ModelError(f"not a generation record: {name} must be {expected}, got {str(values[name])[:60]!r}")
        values |= {name: tuple(values[name]) for name in ("classes", "probe") if name in values}
        try:
            return cls(**values | {"transform": Transform.from_dict(values["transform"])})
        except (TypeError, KeyError) as error:
            raise ModelError(f"not a complete generation record: {error}") from None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


_TEXT = (_is_text, "text")
_OBJECT = (_is_object, "an object")
_KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "architecture": _TEXT,
    "classes": (_is_texts, "a list of names"),
    "transform": _OBJECT,
    "weights": _TEXT,
    "backbone": _TEXT,
    "embedding_width": (_is_integer, "an integer"),
    "parent": (lambda value: value is None or _is_text(value), "text or null"),
    "data": _OBJECT,
    "recipe": _OBJECT,
    "seed": (_is_integer, "an integer"),
    "metrics": _OBJECT,
    "parts": _OBJECT,
    "checkpoints": _OBJECT,
    "foresift": _TEXT,
    "probe": (lambda value: isinstance(value, list | tuple) and all(map(_is_number, value)), "a list of numbers"),
}
