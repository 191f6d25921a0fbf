"""What a fitted pass is, and the registry of all of them by the column that they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import MissingColumnError, UsageError
from foresift.core.registry import Registry, spell

PIXELS = "pixels"
"""What a fitted pass ``needs`` beside columns: the images themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitInputs:
    """A pool as a fitted pass sees it, rows in ascending order of id."""

    labeled: npt.NDArray[np.bool_]
    """(n,) which rows are labeled."""
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """(n, ...) those that the pass needs."""
    load: Callable[[int], Pixels] | None = None
    """A side s in pixels -> (n, s, s, 3) uint8, where there are images."""

    def images(self, side: int) -> Pixels:
        """(n, side, side, 3) uint8.

        Raises:
            MissingColumnError: there are no images.
        """
        if self.load is None:
            raise MissingColumnError("this is learned from the images themselves: select POOL --model DIR")
        return self.load(side)


@dataclass(frozen=True, kw_only=True)
class FittedPass(ABC):
    """Makes one column by a training on the whole pool: a frozen dataclass whose fields are its parameters.

    As with passes over images, a strategy's parameters of the same names decide the values. The
    outcome depends on the inputs and the parameters alone; a row depends on all rows.
    """

    name: ClassVar[str] = ""
    """The column."""
    cite: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    """Columns that it is fitted to; also ``pixels``."""

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        return spell(self.name, self)

    @abstractmethod
    def fit(self, inputs: FitInputs) -> npt.NDArray[np.float32]:
        """(n,) or (n, w) the column.

        Raises:
            UsageError: nothing is labeled, or nothing is left unlabeled.
        """


P = TypeVar("P", bound=type[FittedPass])


class FittedRegistry(Registry[type[FittedPass]]):
    """Fitted passes by the column that they make."""

    def add(self, name: str, entry: type[FittedPass], *, aliases: tuple[str, ...] = ()) -> type[FittedPass]:
        """Register a pass under its column's name.

        Raises:
            UsageError: not a fitted pass, another name than its own, or a name that is taken.
        """
        if not (isinstance(entry, type) and issubclass(entry, FittedPass) and entry.name == name):
            raise UsageError(f"fitted pass {name!r} must be a subclass of FittedPass of that name, got {entry!r}")
        return super().add(name, entry, aliases=aliases)


FITTED_PASSES = FittedRegistry("fitted pass", group="foresift.fitted_passes", package="foresift.training.columns")
"""Every fitted pass by its column."""


def fitted_pass(cls: P) -> P:
    """Class decorator that registers a fitted pass under its column's name."""
    FITTED_PASSES.add(cls.name, cls)
    return cls


def check_both_parts(labeled: npt.NDArray[np.bool_], *, what: str) -> None:
    """Refuse a pool without both labeled and unlabeled rows, between which ``what`` is to tell.

    Raises:
        UsageError: which of them are missing.
    """
    if not labeled.any():
        raise UsageError(f"{what} learns labeled from unlabeled samples, and none is labeled: give labeled ids")
    if labeled.all():
        raise UsageError(f"{what} learns labeled from unlabeled samples, and none is unlabeled")
