"""What a pass over images is, and the registry of all passes by the column that they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import UsageError
from foresift.core.registry import Registry, spell

if TYPE_CHECKING:
    from torch import Tensor, nn

PixelsToValues = Callable[[Pixels], npt.NDArray[np.float32]]
"""(b, s, s, 3) uint8 -> (b, w) float32: a row's values depend on that image alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The generation that a pass looks at."""

    network: nn.Module
    """(b, s, s, 3) pixels, uint8 or float within 0 .. 255 -> (logits (b, c), embeddings (b, d)), normalisation
    included; in evaluation mode, no weight asks for gradients."""
    predict_loss: Callable[[Tensor], Tensor] | None = None
    """(b, s, s, 3) pixels -> (b,) predicted loss, where the generation was trained with a loss-prediction module."""


@dataclass(frozen=True, kw_only=True)
class ColumnPass(ABC):
    """Makes one column, image by image: a frozen dataclass whose fields are its parameters.

    A strategy that needs the column and has fields of the same names decides their values; other
    fields keep the defaults given here. Rows are stored under :attr:`spelling`, so that another
    value of any parameter is another column. Instances hold no other state.
    """

    name: ClassVar[str] = ""
    """The column."""
    cite: ClassVar[str] = ""

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        return spell(self.name, self)

    @abstractmethod
    def make(self, subject: Subject) -> PixelsToValues:
        """What computes the values of a batch; called once, before the first batch.

        Raises:
            ModelError: the generation can't give this column; says how to get one that can.
        """

    def column(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """(n, ...) the column of the stored (n, w) rows: the values themselves, (n,) if there is one a row."""
        return rows[:, 0] if rows.shape[1] == 1 else rows


P = TypeVar("P", bound=type[ColumnPass])


class PassRegistry(Registry[type[ColumnPass]]):
    """Passes by the column that they make."""

    def add(self, name: str, entry: type[ColumnPass], *, aliases: tuple[str, ...] = ()) -> type[ColumnPass]:
        """Register a pass under its column's name.

        Raises:
            UsageError: not a pass, another name than its own, or a name that is taken.
        """
        if not (isinstance(entry, type) and issubclass(entry, ColumnPass) and entry.name == name):
            raise UsageError(f"pass {name!r} must be a subclass of ColumnPass of that name, got {entry!r}")
        return super().add(name, entry, aliases=aliases)


COLUMN_PASSES = PassRegistry("pass", group="foresift.passes", package="foresift.inference.columns")
"""Every pass by its column."""


def column_pass(cls: P) -> P:
    """Class decorator that registers a pass under its column's name."""
    COLUMN_PASSES.add(cls.name, cls)
    return cls
