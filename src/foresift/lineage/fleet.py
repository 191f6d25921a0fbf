"""The record of an exported fleet folder: everything that a device needs to know beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from foresift.core.arrays import Values
from foresift.core.digests import digest_value
from foresift.core.errors import ModelError
from foresift.core.generations import Transform

FLEET_FORMAT = 1
RECORD, MODEL = "fleet.json", "model.onnx"
QUANTILES = 512
"""Of the calibration's scores, kept as the first window of every device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """One exported folder."""

    generation: str
    architecture: str
    classes: tuple[str, ...]
    transform: Transform
    """Resize and normalisation lie in the ONNX graph; of this the device needs how large to decode."""
    model: str
    """Digest of the ONNX file."""
    score: str
    threshold: float | None
    """By the calibration: what a device starts with, and moves with what it sees; None while days are unknown."""
    quota_per_day: int
    frames_per_day: float | None
    """Expected; None = unknown, then the first day waits for its end."""
    calibration: tuple[float, ...]
    """Quantiles of the calibration's scores, ascending."""
    min_distance: float
    """Cosine distance of embeddings below which a frame repeats one that was kept a moment ago."""
    pool: Mapping[str, Any] = field(default_factory=dict)
    """The calibration's pool: name, version, samples."""
    parity: Mapping[str, float] = field(default_factory=dict)
    """How far the device's scores lie from the server's on images of that pool."""
    format: int = FLEET_FORMAT

    @property
    def id(self) -> str:
        """Content digest of the record, the model's digest included."""
        return digest_value(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: object) -> Fleet:
        """Inverse of :meth:`to_dict`; an ``id`` key must fit the rest.

        Raises:
            ModelError: fields are missing, of another format, or were changed.
        """
        if not isinstance(plain, Mapping) or plain.get("format") != FLEET_FORMAT:
            raise ModelError("not the record of a fleet folder; write one with foresift fleet export")
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in plain.items() if key in known}
        try:
            values |= {key: tuple(values[key]) for key in ("classes", "calibration")}
            fleet = cls(**values | {"transform": Transform.from_dict(values["transform"])})
            intact = fleet.id == plain.get("id")
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(f"not a complete record of a fleet folder: {error}") from None
        if not intact:
            raise ModelError("the record was changed since it was written; export again")
        return fleet


def score_quantiles(scores: Values) -> tuple[float, ...]:
    """At most ``QUANTILES`` evenly spread quantiles of (n,) scores, ascending."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if len(ordered) > QUANTILES:
        ordered = np.quantile(ordered, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    return tuple(map(float, ordered))
