"""What embeddings are asked for, and what embeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foresift.app.models.opening import Model
from foresift.app.passes.stored import PassOptions
from foresift.core.samples import Quarantined

METHODS = ("simclr",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The size of a self-supervised training."""

    architecture: str
    size: int
    """Side of the input in pixels; small square images of one size keep theirs."""
    epochs: int
    batch_size: int
    lr: float


PRESETS: Mapping[str, Preset] = {
    "small": Preset(architecture="resnet8", size=64, epochs=20, batch_size=256, lr=2e-3),
    "paper": Preset(architecture="resnet34-small", size=64, epochs=200, batch_size=512, lr=1e-3),
}
"""``small``: minutes on two cores. ``paper``: Neven and Goedemé 2022, section 4.1, for a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """What to embed with; names follow the command line."""

    out: Path
    model: str | None = None
    """A generation or one of timm's names; with ``train`` the architecture to train."""
    train: str | None = None
    """``simclr``, or None: the model is used as it is."""
    save: Path | None = None
    """Folder for the backbone's generation."""
    labels: Path | None = None
    """Only to watch how the training goes."""
    preset: str = "small"
    views: str = "colour"
    size: int | None = None
    epochs: int | None = None
    patience: int = 0
    crops: int = 0
    seed: int = 0
    options: PassOptions = field(default_factory=PassOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What embeds, and how it came to be."""

    model: Model
    trained: bool = False
    """Whether this call trained it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of the last epoch."""
    epochs: int = 0
    resumed_from: int = 0
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
