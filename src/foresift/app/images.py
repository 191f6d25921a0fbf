"""Decoding labeled images for training: all of them once, broken ones set aside."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, EmptyPoolError, LabelError
from foresift.core.generations import Transform
from foresift.core.protocols import Progress
from foresift.core.samples import Pool, Quarantined
from foresift.inference.decode import decode
from foresift.inference.transform import load
from foresift.sources.read import fetch

MEMORY_BYTES = 2 << 30
"""Larger sets are decoded again in every epoch."""
SMALL_SIDE = 64
_WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledImages:
    """Labeled samples that can be decoded, as rows of pixels or of addresses."""

    pool: Pool
    """The usable samples, n rows."""
    codes: npt.NDArray[np.int64]
    """(n,) indices into the classes asked for."""
    pixels: Pixels | None
    """(n, size, size, 3) uint8, unless they would not fit ``MEMORY_BYTES``."""
    transform: Transform
    quarantined: tuple[Quarantined, ...]

    def load(self, row: int) -> Pixels:
        """(size, size, 3) uint8 of one row."""
        if self.pixels is not None:
            one: Pixels = self.pixels[row]
            return one
        return load(fetch(str(self.pool.uris[row])), self.transform)


def labeled_images(pool: Pool, classes: tuple[str, ...], transform: Transform, *, progress: Progress) -> LabeledImages:
    """The labeled samples of a pool, each decoded once; what can't be decoded is quarantined.

    Raises:
        LabelError: no label at all, or one that is none of ``classes``.
        EmptyPoolError: every labeled image is broken.
    """
    some = pool.take(pool.labeled)
    if not len(some):
        raise LabelError(f"{pool.name} has no labels: give class folders, a manifest with labels, or --labels FILE")
    codes = _codes(some, classes)
    keep = len(some) * transform.size**2 * 3 <= MEMORY_BYTES
    shape = (len(some) if keep else 0, transform.size, transform.size, 3)
    pixels = np.zeros(shape, dtype=np.uint8)
    broken: dict[int, Quarantined] = {}
    progress.start("decoding", len(some))
    for row, result in enumerate(_decoded(some, transform)):
        if isinstance(result, Quarantined):
            broken[row] = result
        elif keep:
            pixels[row] = result
        progress.advance(1)
    progress.done()
    good = np.array([row not in broken for row in range(len(some))], dtype=bool)
    if not good.any():
        raise EmptyPoolError(f"{pool.name}: every labeled image is broken, the first: {broken[0].reason}")
    return LabeledImages(
        pool=some.take(good),
        codes=codes[good],
        pixels=(pixels if good.all() else pixels[good]) if keep else None,
        transform=transform,
        quarantined=tuple(broken.values()),
    )


def common_side(pool: Pool, *, look_at: int = 32) -> int | None:
    """The side of the pool's images if they are small squares of one size, else None.

    Reads a few images, spread evenly.
    """
    sides = set()
    for row in range(0, len(pool), max(1, len(pool) // look_at)):
        try:
            sides.add(decode(fetch(str(pool.uris[row]))).shape[:2])
        except DataError:
            continue
    if len(sides) != 1:
        return None
    height, width = sides.pop()
    return height if height == width <= SMALL_SIDE else None


def _codes(pool: Pool, classes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    index = {name: code for code, name in enumerate(classes)}
    used = sorted({pool.classes[code] for code in np.unique(pool.codes).tolist()})
    if unknown := [name for name in used if name not in index]:
        raise LabelError(
            f"labels {', '.join(unknown[:5])} are none of the model's {len(classes)} classes "
            f"({', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}); "
            "use a model with the same classes, or train one with --classes"
        )
    lookup = np.array([index.get(name, -1) for name in pool.classes], dtype=np.int64)
    return lookup[pool.codes]


def _decoded(pool: Pool, transform: Transform) -> Iterator[Pixels | Quarantined]:
    def one(uri: str) -> Pixels | Quarantined:
        try:
            return load(fetch(uri), transform)
        except DataError as error:
            return Quarantined(uri=uri, reason=str(error))

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="decode") as workers:
        # Blocks, so that a large set does not queue all of its pixels at once.
        for start in range(0, len(pool), 256):
            yield from workers.map(one, pool.uris[start : start + 256].tolist())
