"""A part of the pool to try settings on, so that nobody looks at the test part before they are settled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.studies.image_sets import ImageSet
from foresift.studies.surrogates.protocol import DEVELOPMENT

SHARE = 0.2
"""Of the pool, drawn at random, the same for every seed of a study; never chosen from."""
SEED = 5_417


@dataclass(frozen=True, slots=True)
class RowsOf:
    """Some rows of an array that may be too large for memory: each is read when it is asked for."""

    array: npt.NDArray[Any]
    rows: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def nbytes(self) -> int:
        """As an array's."""
        return len(self.rows) * self.array[:1].nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = self.array[self.rows[at]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.array[self.rows], dtype=dtype)


def held_out(n: int) -> tuple[Rows, Rows]:
    """The rows of n that stay in the pool, and those that judge; both ascending."""
    order = np.random.default_rng(SEED).permutation(n)
    judges = max(1, round(SHARE * n))
    return np.sort(order[judges:]), np.sort(order[:judges])


def rows_of(array: npt.NDArray[Any], rows: Rows) -> Any:
    """(len(rows), ...) what stands for ``array[rows]`` and copies nothing."""
    return RowsOf(array, rows)


def on_development(images: ImageSet) -> ImageSet:
    """The set without its test part: a part of the pool judges in its place."""
    left, judges = held_out(len(images.codes))
    return replace(
        images,
        name=f"{images.name}-{DEVELOPMENT}",
        pixels=rows_of(images.pixels, left),
        codes=images.codes[left],
        test_pixels=rows_of(images.pixels, judges),
        test_codes=images.codes[judges],
    )
