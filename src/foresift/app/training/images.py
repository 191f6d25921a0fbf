"""Decoding images for training: all of them once, broken ones set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from foresift.inference.transform import apply, load
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


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabeledImages:
    """The samples of a pool that can be decoded, whole or as random squares."""

    pool: Pool
    """The usable samples, n rows."""
    crops: int
    """Squares of each image; 0 = the whole image."""
    seed: int
    pixels: Pixels | None
    """(n * max(1, crops), size, size, 3) uint8, unless they would not fit ``MEMORY_BYTES``."""
    transform: Transform
    quarantined: tuple[Quarantined, ...]

    def __len__(self) -> int:
        return len(self.pool) * max(1, self.crops)

    def load(self, row: int) -> Pixels:
        """(size, size, 3) uint8 of one row."""
        if self.pixels is not None:
            one: Pixels = self.pixels[row]
            return one
        at, crop = divmod(row, max(1, self.crops))
        uri, digest = str(self.pool.uris[at]), str(self.pool.digests[at])
        return _units(uri, digest, self.transform, crops=self.crops, seed=self.seed)[crop]


def unlabeled_images(pool: Pool, transform: Transform, *, crops: int, seed: int, progress: Progress) -> UnlabeledImages:
    """All images of a pool as training units; what can't be decoded is quarantined.

    Args:
        crops: random squares of each image that are units of their own; 0 = the whole image is one.
        seed: of the squares, which depend on the image's content and not on its place in the pool.
    Raises:
        EmptyPoolError: every image is broken.
    """

    def units(row: int) -> list[Pixels]:
        uri, digest = str(pool.uris[row]), str(pool.digests[row])
        return _units(uri, digest, transform, crops=crops, seed=seed)

    decoded = _decode(pool, units, each=max(1, crops), size=transform.size, progress=progress)
    return UnlabeledImages(
        pool=pool.take(decoded.good),
        crops=crops,
        seed=seed,
        pixels=decoded.pixels,
        transform=transform,
        quarantined=decoded.quarantined,
    )


def labeled_images(pool: Pool, classes: tuple[str, ...], transform: Transform, *, progress: Progress) -> LabeledImages:
    """The labeled samples of a pool, each decoded once; what can't be decoded is quarantined.

    Raises:
        LabelError: no label at all, or one that is none of ``classes``.
        EmptyPoolError: every image is broken.
    """
    some = pool.take(pool.labeled)
    if not len(some):
        raise LabelError(f"{pool.name} has no labels: give class folders, a manifest with labels, or --labels FILE")
    codes = _codes(some, classes)

    def units(row: int) -> list[Pixels]:
        return [load(fetch(str(some.uris[row])), transform)]

    decoded = _decode(some, units, each=1, size=transform.size, progress=progress)
    return LabeledImages(
        pool=some.take(decoded.good),
        codes=codes[decoded.good],
        pixels=decoded.pixels,
        transform=transform,
        quarantined=decoded.quarantined,
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


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Which samples can be decoded, and what they look like as far as that fits memory."""

    good: npt.NDArray[np.bool_]
    pixels: Pixels | None
    quarantined: tuple[Quarantined, ...]


def _decode(pool: Pool, units: Callable[[int], list[Pixels]], *, each: int, size: int, progress: Progress) -> _Decoded:
    """Every sample once.

    Args:
        units: row -> ``each`` squares; called from several threads.
    Raises:
        EmptyPoolError: every image is broken.
    """
    keep = len(pool) * each * size**2 * 3 <= MEMORY_BYTES
    pixels = np.zeros((len(pool) if keep else 0, each, size, size, 3), dtype=np.uint8)
    broken: dict[int, Quarantined] = {}
    progress.start("decoding", len(pool))
    for row, result in enumerate(_each(pool, units)):
        if isinstance(result, Quarantined):
            broken[row] = result
        elif keep:
            pixels[row] = result
        progress.advance(1)
    progress.done()
    good = np.array([row not in broken for row in range(len(pool))], dtype=bool)
    if not good.any():
        raise EmptyPoolError(f"{pool.name}: every image is broken, the first: {broken[0].reason}")
    kept = (pixels if good.all() else pixels[good]).reshape(-1, size, size, 3) if keep else None
    return _Decoded(good, kept, tuple(broken.values()))


def _each(pool: Pool, units: Callable[[int], list[Pixels]]) -> Iterator[list[Pixels] | Quarantined]:
    def one(row: int) -> list[Pixels] | Quarantined:
        try:
            return units(row)
        except DataError as error:
            return Quarantined(uri=str(pool.uris[row]), reason=str(error))

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="decode") as workers:
        # Blocks, so that a large set does not queue all of its pixels at once.
        for start in range(0, len(pool), 256):
            yield from workers.map(one, range(start, min(start + 256, len(pool))))


def _units(uri: str, digest: str, transform: Transform, *, crops: int, seed: int) -> list[Pixels]:
    """The whole image, or random squares of it, as a model takes them."""
    if not crops:
        return [load(fetch(uri), transform)]
    pixels = decode(fetch(uri))
    rng = np.random.default_rng([seed, int(digest, 16)])
    return [apply(random_square(pixels, transform.size, rng), transform) for _ in range(crops)]


def random_square(pixels: Pixels, least: int, rng: np.random.Generator) -> Pixels:
    """A square of an image, its side anything from ``least`` pixels to the shorter side; a view."""
    shorter = min(pixels.shape[:2])
    side = int(rng.integers(min(least, shorter), shorter + 1))
    top, left = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
