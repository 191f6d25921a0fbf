"""Trained models and how pixels reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from foresift.core.digests import digest_value
from foresift.core.errors import ModelError

GENERATION_FORMAT = 1
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
        if self.size < 1 or self.size > 16_384:
            raise ModelError(f"image size must be within 1 .. 16384, got {self.size}")
        if self.resize not in ("squash", "crop") or self.interpolation not in ("bilinear", "bicubic"):
            raise ModelError(f"unknown resize {self.resize!r} or interpolation {self.interpolation!r}")

    @property
    def digest(self) -> str:
        """40 hexadecimal characters."""
        return digest_value(asdict(self))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Transform:
        """Inverse of ``dataclasses.asdict``."""
        values = dict(plain)
        for key in ("mean", "std"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A trained model as a record; the weights lie beside it as ``model.safetensors``."""

    architecture: str
    """A name that ``foresift models`` lists, such as ``resnet20`` or ``mlp:64``."""
    classes: tuple[str, ...]
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
    format: int = GENERATION_FORMAT

    @property
    def id(self) -> str:
        """Content digest of the record, weights digest included."""
        return digest_value(self.to_dict())

    @property
    def trained_head_only(self) -> bool:
        """Whether the backbone was frozen, so that logits follow from stored embeddings."""
        return self.recipe.get("train") == "head"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Generation:
        """Inverse of :meth:`to_dict`; ignores an ``id`` key.

        Raises:
            ModelError: fields are missing or of another format.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in plain.items() if key in known}
        if values.get("format") != GENERATION_FORMAT:
            raise ModelError(f"generation format {values.get('format')!r}, expected {GENERATION_FORMAT}")
        try:
            values["classes"] = tuple(values["classes"])
            values["transform"] = Transform.from_dict(values["transform"])
            return cls(**values)
        except (TypeError, KeyError) as error:
            raise ModelError(f"not a complete generation record: {error}") from None
