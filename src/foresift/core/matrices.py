"""(n, d) numbers that are read in blocks: in memory, mapped from a file, or some rows of either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows

BLOCK_BYTES = 1 << 24
"""Bytes of a float32 block: large enough for matrix products, small beside any memory."""
IN_MEMORY_BYTES = 5 << 29
"""Up to 2.5 GiB of float32 are worth holding: a million rows of 512."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMatrix:
    """Rows of an array as float32, without ever holding all of them unless asked to.

    ``array`` may be float16 and memory-mapped; ``rows`` chooses some of its rows, None means all.
    """

    array: npt.NDArray[Any]
    """(m, d)"""
    rows: Rows | None = None
    """(n,) rows of ``array``, in the order in which they are seen here."""
    _step: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        width = max(1, self.array.shape[1])
        object.__setattr__(self, "_step", max(64, BLOCK_BYTES // (4 * width)))

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    @property
    def width(self) -> int:
        """d, numbers in a row."""
        return int(self.array.shape[1])

    @property
    def fits_memory(self) -> bool:
        """Whether all rows as float32 take no more than ``IN_MEMORY_BYTES``."""
        return 4 * len(self) * self.width <= IN_MEMORY_BYTES

    def block(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """(stop - start, d) rows; a view where they lie together as float32, never to be written to."""
        if self.rows is None:
            return self.array[start:stop].astype(np.float32, copy=False)
        rows = self.rows[start:stop]
        if len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self.array[int(rows[0]) : int(rows[-1]) + 1].astype(np.float32, copy=False)
        return self.array[rows].astype(np.float32, copy=False)

    def take(self, which: npt.NDArray[np.integer[Any]] | list[int]) -> npt.NDArray[np.float32]:
        """(k, d) the rows at the given positions, copied."""
        at = np.asarray(which, dtype=np.intp)
        return self.array[at if self.rows is None else self.rows[at]].astype(np.float32)

    def subset(self, which: Rows) -> RowMatrix:
        """The rows at the given positions, as a matrix of their own; nothing is copied."""
        return RowMatrix(array=self.array, rows=which if self.rows is None else self.rows[which])

    def blocks(self) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
        """``(start, stop, rows)`` of consecutive blocks of about ``BLOCK_BYTES``."""
        for start in range(0, len(self), self._step):
            stop = min(start + self._step, len(self))
            yield start, stop, self.block(start, stop)

    def whole(self) -> npt.NDArray[np.float32]:
        """(n, d) all rows as float32; the array itself where it is that already. Not to be written to."""
        return self.block(0, len(self))
