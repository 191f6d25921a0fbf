"""Trained segmentation models and how pixels reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from foresift.core.digests import digest_value
from foresift.core.errors import ModelError, UsageError
from foresift.core.generations import GENERATION_FORMAT, IMAGENET_MEAN, IMAGENET_STD, LOSS_PREDICTION
from foresift.core.masks import MaskClasses

SEGMENTATION = "segmentation"
"""The task in the record of a generation."""
MAX_SIDE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTransform:
    """From decoded RGB pixels to a model input whose sides need not be equal; the same in training and in the field."""

    size: tuple[int, int] | None = None
    """(height, width) in pixels that every image is stretched to; None = its own size times ``scale``."""
    scale: float = 1.0
    interpolation: str = "bilinear"
    """``bilinear`` or ``bicubic``, antialiased (Pillow's)."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or not all(map(_is_side, self.size))):
            raise ModelError(f"image size must be a height and a width within 1 .. {MAX_SIDE}, got {self.size!r}")
        if not isinstance(self.scale, int | float) or not 0 < self.scale <= 16:
            raise ModelError(f"image scale must be above 0 and at most 16, got {self.scale!r}")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ModelError(f"unknown interpolation {self.interpolation!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise ModelError(f"mean and std must be three numbers, std above 0, got {self.mean!r} and {self.std!r}")

    @property
    def digest(self) -> str:
        """40 hexadecimal characters."""
        return digest_value(asdict(self))

    @property
    def spelled(self) -> str:
        """``WIDTHxHEIGHT``, a share such as ``50%``, or "" where images keep their sizes."""
        if self.size is not None:
            return f"{self.size[1]}x{self.size[0]}"
        return "" if self.scale == 1 else f"{100 * self.scale:g}%"

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the input that an image of this size becomes."""
        if self.size is not None:
            return self.size
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> DenseTransform:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            ModelError: other fields than a transform's, or values of another kind.
        """
        try:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
            }
            return cls(**values)
        except (TypeError, ValueError, AttributeError):
            raise ModelError(f"not a complete transform: {str(plain)[:120]}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationGeneration:
    """A trained segmentation model as a record; the weights lie beside it as ``model.safetensors``."""

    architecture: str
    """HEAD:ENCODER, such as ``deeplabv3plus:mobilenetv3_small_100``."""
    classes: tuple[str, ...]
    values: tuple[int, ...]
    """(c,) the value that stands for each class in mask files."""
    ignored: tuple[int, ...]
    """The ignore index, or several of them: values of pixels that do not count."""
    transform: DenseTransform
    weights: str
    """Digest of the weights file."""
    embedding_width: int
    """Channels of the encoder's last feature map, whose mean is an image's embedding."""
    parent: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """Where images and masks came from, their version, how many, and labeled pixels a class."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters, and under ``start`` what the initial weights were."""
    seed: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    foresift: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Digests of further files of weights beside the network's, such as ``loss-prediction.safetensors``."""
    task: str = SEGMENTATION
    format: int = GENERATION_FORMAT

    @property
    def id(self) -> str:
        """Content digest of the record, weights digest included."""
        return digest_value(self.to_dict())

    @property
    def mask_classes(self) -> MaskClasses:
        """How mask files are read for this model."""
        return MaskClasses(classes=self.classes, values=self.values, ignored=self.ignored)

    def loss_prediction(self) -> str:
        """Digest of the weights of the module that predicts its loss.

        Raises:
            ModelError: trained without one; says how to get a model that has it.
        """
        if LOSS_PREDICTION not in self.parts:
            raise ModelError(
                f"{self.architecture} of generation {self.id[:12]} has no loss-prediction module; train one that has: "
                "foresift train DATA --task segmentation --model deeplabv3plus:ENCODER --loss-prediction --out DIR"
            )
        return self.parts[LOSS_PREDICTION]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = asdict(self)
        if not self.parts:  # records without them keep their ids
            del plain["parts"]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SegmentationGeneration:
        """Inverse of :meth:`to_dict`; ignores an ``id`` key.

        Raises:
            ModelError: fields are missing, of another kind, of another task or of another format.
        """
        if not isinstance(plain, Mapping) or plain.get("task") != SEGMENTATION:
            raise ModelError("not a record of a segmentation model")
        if plain.get("format") != GENERATION_FORMAT:
            raise ModelError(f"generation format {plain.get('format')!r}, expected {GENERATION_FORMAT}")
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in plain.items() if key in known}
        try:
            values |= {name: tuple(values[name]) for name in ("classes", "values", "ignored")}
            generation = cls(**values | {"transform": DenseTransform.from_dict(values["transform"])})
            generation.mask_classes  # noqa: B018 -- refuses values that contradict each other
        except (TypeError, KeyError, UsageError) as error:
            raise ModelError(f"not a complete record of a segmentation model: {error}") from None
        return generation


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE
