"""Where a generation comes from: whose weights it began with, and who chose each of its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from foresift.core.errors import StoreError
from foresift.core.segmentation import SEGMENTATION

ALIASES = ("deployed", "candidate")
"""Names that move from generation to generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Labels that one receipt brought, or none did."""

    receipt: str = ""
    """Id; "" = nobody knows who chose these: they came with the pool, or from elsewhere."""
    strategy: str = ""
    surrogates: tuple[str, ...] = ()
    """Ids of the generations that looked; none where the choice was made without a model."""
    labels: int = 0
    control: int = 0
    """So many of the labels were drawn at random by a control arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heritage:
    """What is known of a training beside its data and recipe."""

    run: str = ""
    target: str = ""
    """Name of the device that the generation is meant for."""
    heir_of: str = ""
    """Id of the generation whose labels were inherited."""
    receipts: tuple[str, ...] | None = None
    """The receipts that may have brought the labels, the earlier first; None = any that they answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """A generation as its workspace remembers it, also where its folder is gone."""

    generation: str
    """Id."""
    folder: str
    at: str = ""
    """When it was registered, ISO 8601; "" for those of earlier versions."""
    run: str = ""
    target: str = ""
    heir_of: str = ""
    brought: tuple[Brought, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    """The generation's record; empty where nobody has seen it."""

    @property
    def architecture(self) -> str:
        """ "" where the record is lost."""
        return str(self.record.get("architecture", ""))

    @property
    def has_masks(self) -> bool:
        """Whether it is a segmentation model, whose labels are masks."""
        return self.record.get("task") == SEGMENTATION

    @property
    def parent(self) -> str:
        """Id of the generation whose weights it began with; "" without one."""
        return str(self.record.get("parent") or "")

    @property
    def surrogates(self) -> tuple[str, ...]:
        """Ids of the generations that chose its labels, each once."""
        return tuple(dict.fromkeys(one for part in self.brought for one in part.surrogates))

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Ids of the generations that it directly comes from, each once."""
        return tuple(dict.fromkeys(filter(None, (self.parent, self.heir_of, *self.surrogates))))

    @property
    def labels(self) -> int:
        """How many labels it learned from, as far as that is on record."""
        return sum(part.labels for part in self.brought)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Descent:
        """Inverse of :meth:`to_dict`; what it has too much is left out.

        Raises:
            StoreError: not such a record.
        """
        known = {f.name for f in fields(cls)}
        try:
            values = {key: value for key, value in plain.items() if key in known}
            parts = [Brought(**{**part, "surrogates": tuple(part["surrogates"])}) for part in values.get("brought", ())]
            return cls(**{**values, "brought": tuple(parts)})
        except (TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"not the record of a generation's descent: {error}") from None
