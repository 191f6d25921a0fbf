"""Class masks: one class code a pixel, and which code each value in a mask file stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.errors import LabelError, UsageError
from foresift.core.regions import Region

IGNORED = -1
"""The code of a pixel that trains nothing and counts nowhere."""
MAX_VALUE = 65_535
"""Masks are PNG files of up to 16 bits."""
MAX_CLASSES = 4_096

MaskValues: TypeAlias = npt.NDArray[np.integer[Any]]
"""(h, w) values as a mask file holds them."""
Mask: TypeAlias = npt.NDArray[np.int16]
"""(h, w) class codes 0 .. c - 1, or ``IGNORED``."""
ClassCounts: TypeAlias = npt.NDArray[np.int64]
"""(n, 3, c) pixels of each class in n images: those that a model gets right, the true ones, and the predicted ones."""

_UNKNOWN = -2


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskClasses:
    """c classes and the value that stands for each of them in mask files.

    Raises:
        UsageError: fewer than two classes, a value that stands for two things, or one outside 0 .. 65535.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    """(c,) distinct values; the class of ``values[i]`` has code i."""
    ignored: tuple[int, ...] = ()
    """Values of pixels that do not count."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= MAX_CLASSES:
            raise UsageError(f"segmentation needs 2 .. {MAX_CLASSES} classes, got {len(self.classes)}")
        if len(self.classes) != len(self.values):
            raise UsageError(f"{len(self.classes)} classes but {len(self.values)} mask values")
        everything = [*self.values, *self.ignored]
        if len(set(everything)) != len(everything):
            twice = next(value for value in everything if everything.count(value) > 1)
            raise UsageError(f"mask value {twice} stands for two classes, or for a class and for ignored pixels")
        if outside := [value for value in everything if not 0 <= value <= MAX_VALUE]:
            raise UsageError(f"mask values must be within 0 .. {MAX_VALUE}, got {outside[0]}")

    @classmethod
    def numbered(cls, names: Sequence[str], *, ignored: Sequence[int] = ()) -> MaskClasses:
        """The classes whose values are 0, 1, 2, ... in the order of ``names``, ignored values left out of the row.

        With 11 names and 5 ignored the values are 0 .. 4 and 6 .. 11; ignored values above are no matter.
        """
        free = (value for value in range(MAX_VALUE + 1) if value not in ignored)
        values = tuple(value for value, _ in zip(free, names, strict=False))
        return cls(classes=tuple(names), values=values, ignored=tuple(ignored))

    @classmethod
    def present(cls, values: Iterable[int], *, ignored: Sequence[int] = ()) -> MaskClasses:
        """The classes of the values that occur, each named by its number."""
        used = tuple(sorted(set(values) - set(ignored)))
        if len(used) > MAX_CLASSES:
            raise LabelError(f"the masks hold {len(used):,} different values; are these class numbers? Give --classes")
        if len(used) < 2:
            found = f"only the value {used[0]}" if used else "no value"
            raise LabelError(f"the masks hold {found} beside ignored pixels; training needs 2 classes: give --classes")
        return cls(classes=tuple(map(str, used)), values=used, ignored=tuple(ignored))

    def codes(self, values: MaskValues) -> Mask:
        """(h, w) class codes of (h, w) file values.

        Raises:
            LabelError: a value that is neither a class nor ignored, or nothing but ignored pixels.
        """
        outside = (values < 0) | (values > MAX_VALUE)
        found: Mask = _table(self.values, self.ignored)[np.where(outside, 0, values)]
        unknown = outside | (found == _UNKNOWN)
        if unknown.any():
            shown = ", ".join(map(str, np.unique(values[unknown])[:5].tolist()))
            raise LabelError(f"the mask holds the unknown value{'' if ',' not in shown else 's'} {shown}")
        if not (found != IGNORED).any():
            raise LabelError("every pixel of the mask is ignored")
        return found


@lru_cache(maxsize=8)
def _table(values: tuple[int, ...], ignored: tuple[int, ...]) -> Mask:
    """(65536,) code of every possible value."""
    table = np.full(MAX_VALUE + 1, _UNKNOWN, dtype=np.int16)
    table[list(values)] = np.arange(len(values))
    table[list(ignored)] = IGNORED
    table.flags.writeable = False
    return table


def within(mask: Mask, regions: Sequence[Region]) -> Mask:
    """``mask`` with everything outside the labeled regions ignored: what a partly labeled image may train on.

    Raises:
        LabelError: a region that is empty or does not lie inside the mask, or nothing but ignored pixels left.
    """
    height, width = mask.shape
    partial = np.full_like(mask, IGNORED)
    for region in regions:
        left, top, right, bottom = region.left, region.top, region.left + region.width, region.top + region.height
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise LabelError(f"region {tuple(region)} does not lie inside an image of {width} x {height} pixels")
        partial[top:bottom, left:right] = mask[top:bottom, left:right]
    if not (partial != IGNORED).any():
        raise LabelError("no pixel inside the labeled regions counts")
    return partial


def resized(mask: Mask, height: int, width: int) -> Mask:
    """(height, width) codes, each that of the nearest pixel; no class is invented on the way."""
    # Whole numbers throughout: the pixel that holds the centre (i + 1/2) * from / to.
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    return mask[rows[:, None], columns] if mask.shape != (height, width) else mask
