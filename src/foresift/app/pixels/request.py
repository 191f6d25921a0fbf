"""What a selection may ask of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foresift.app.pixels.strategies import parse_aggregate
from foresift.core.errors import UsageError
from foresift.core.ranges import check_one_of
from foresift.kernels.patch_grid import check_patch

UNITS = ("image", "patch")
LOW_LEVEL = "low-level"
PATCH = 256
"""Side of units in pixels, unless asked otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """What a request asks of pixels; all of it left alone means none of it matters."""

    unit: str = "image"
    patch: int | None = None
    """Side of the units in pixels, where they are patches; None = 256."""
    aggregate: str | None = None
    """``mean``, ``max`` or ``top-patches:patch=64,top=4``: how scores of pixels become one of a unit."""
    budget_pixels: int | None = None
    """In place of a number of patches: so many pixels."""
    embeddings_from: str | Path | None = None
    """What embeds beside a segmentation model: a backbone, or ``low-level``, the encoder's map at a quarter of the
    image's sides; None = the encoder's last map."""

    def __post_init__(self) -> None:
        check_one_of(UNITS, unit=self.unit)
        if self.patch is not None and self.unit != "patch":
            raise UsageError(
                "--patch is the side of units and goes with --unit patch; the patches of an aggregate are spelled"
                " --aggregate top-patches:patch=64,top=4"
            )
        check_patch(self.side)
        if self.aggregate is not None:
            parse_aggregate(self.aggregate)
        if self.budget_pixels is not None and (self.unit != "patch" or self.budget_pixels < 1):
            raise UsageError("--budget-pixels takes 1 pixel or more, together with --unit patch")

    @property
    def side(self) -> int:
        """Of the units in pixels, where they are patches."""
        return PATCH if self.patch is None else self.patch

    @property
    def embedded_side(self) -> int:
        """That of what gets an embedding of its own; 0 = whole images."""
        return self.side if self.unit == "patch" else 0

    @property
    def asked(self) -> bool:
        """Whether it is about pixels at all."""
        return self.unit != "image" or self.aggregate is not None or self.embeddings_from is not None

    @property
    def needing(self) -> str:
        """The options that a segmentation model is needed for, as the start of a sentence."""
        asked = {"--aggregate": self.aggregate, "--embeddings-from": self.embeddings_from}
        given = [option for option, value in asked.items() if value is not None] or ["--unit patch"]
        return f"{' and '.join(given)} need{'s' if len(given) == 1 else ''}"
