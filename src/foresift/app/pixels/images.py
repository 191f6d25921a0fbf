"""Images and masks that can be used, each read once; what can't be used is set aside with the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.digests import digest_bytes, digest_value
from foresift.core.errors import DataError, EmptyPoolError, UsageError
from foresift.core.masks import IGNORED, Mask, MaskClasses, MaskValues, resized, within
from foresift.core.protocols import Progress
from foresift.core.regions import Region
from foresift.core.samples import Quarantined
from foresift.core.segmentation import DenseTransform
from foresift.inference.decode import decode
from foresift.inference.dense_transform import apply_dense
from foresift.inference.masks import decode_mask
from foresift.sources.read import fetch
from foresift.sources.segmentation import MaskedListing, MaskReference

MEMORY_BYTES = 1 << 30
"""Pairs that do not fit are read again whenever they are asked for."""
NOTHING_LEFT = "no labeled pixel is left at the size of the model's input"
"""The reason why an image and a mask that fit and can be read are of no use."""
VALUES_FROM = 64
"""Masks read at one time when only their values are wanted."""
_WORKERS = 4

Regions = Mapping[str, Sequence[Region]]
"""Labeled regions of the images of some paths, () = all of it; an image without an entry is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableImages:
    """n images and masks that were read once without a complaint."""

    name: str
    version: str
    """Digest of the bytes of all of them, the classes and the labeled regions."""
    images: tuple[str, ...]
    """n paths."""
    masks: tuple[MaskReference, ...]
    digests: tuple[tuple[str, str], ...]
    """n: of the image's bytes, and of the mask with its labeled regions."""
    classes: MaskClasses
    transform: DenseTransform
    pixels: tuple[int, ...]
    """(c,) labeled pixels of each class, at the size of the model's input."""
    quarantined: tuple[Quarantined, ...]
    contradicting: tuple[Quarantined, ...]
    """Images of equal bytes whose masks differ."""
    notes: tuple[str, ...]
    kept: Mapping[int, tuple[Pixels, Mask]]
    """Rows held in memory, at the size of the model's input."""
    regions: Regions | None = None

    def __len__(self) -> int:
        return len(self.images)

    def pair(self, row: int) -> tuple[Pixels, Mask]:
        """(h, w, 3) image and (h, w) codes at the size of the model's input."""
        if (held := self.kept.get(row)) is not None:
            return held
        return _scaled(decode(fetch(self.images[row])), self.truth(row), self.transform)

    def truth(self, row: int) -> Mask:
        """(h, w) codes at the mask's own size."""
        values, _ = self.masks[row].read(decode_mask)
        return _labeled(self.classes.codes(values), self.images[row], self.regions)


def usable_images(
    listing: MaskedListing,
    classes: MaskClasses,
    transform: DenseTransform,
    *,
    regions: Regions | None = None,
    progress: Progress,
) -> UsableImages:
    """Reads every image and mask of a listing once.

    Quarantined are images and masks that can't be decoded, are of different sizes, hold unknown
    values, or nothing that counts. Images of equal bytes whose masks differ are a reported conflict: none is used.

    Raises:
        EmptyPoolError: nothing is left.
    """
    rows = _wanted(listing, regions)
    good: list[_Good] = []
    broken: list[Quarantined] = []
    room = MEMORY_BYTES
    progress.start("reading images and masks", len(rows))
    for row, read in zip(rows, _read_all(listing, rows, classes, transform, regions), strict=True):
        progress.advance(1)
        if isinstance(read, Quarantined):
            broken.append(read)
            continue
        size = sum(part.nbytes for part in read.pair)
        fits = size <= room
        room -= size if fits else 0
        pixels = np.bincount(read.pair[1][read.pair[1] != IGNORED], minlength=len(classes.classes))
        good.append(_Good(row, read.digests, pixels, read.pair if fits else None))
    progress.done()
    settled, contradicting, notes = _settled(listing, good)
    if not settled:
        first = (*broken, *listing.quarantined, *(Quarantined(uri=listing.name, reason=note) for note in notes))[0]
        raise EmptyPoolError(f"{listing.name}: no image can be used; the first, {first.uri}: {first.reason}")
    images = tuple(listing.images[one.row] for one in settled)
    return UsableImages(
        name=listing.name,
        version=_version(images, settled, classes),
        images=images,
        masks=tuple(listing.masks[one.row] for one in settled),
        digests=tuple(one.digests for one in settled),
        classes=classes,
        transform=transform,
        pixels=tuple(np.sum([one.pixels for one in settled], axis=0).tolist()),
        quarantined=(*listing.quarantined, *broken),
        contradicting=tuple(contradicting),
        notes=(*listing.notes, *notes),
        kept={row: one.pair for row, one in enumerate(settled) if one.pair is not None},
        regions=regions,
    )


def values_present(listing: MaskedListing, *, progress: Progress) -> set[int]:
    """Every value that occurs in the masks that can be read."""

    def one(mask: MaskReference) -> list[int]:
        try:
            found: list[int] = np.unique(mask.read(decode_mask)[0]).tolist()
        except DataError:
            return []  # it is quarantined, with the reason, when images are read
        return found

    present: set[int] = set()
    progress.start("looking for classes", len(listing.masks))
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="masks") as workers:
        for start in range(0, len(listing.masks), VALUES_FROM):
            block = listing.masks[start : start + VALUES_FROM]
            present.update(*workers.map(one, block))
            progress.advance(len(block))
    progress.done()
    return present


@dataclass(frozen=True, slots=True)
class _Read:
    pair: tuple[Pixels, Mask]
    digests: tuple[str, str]
    """Of the image, and of the mask with its labeled regions."""


@dataclass(frozen=True, slots=True)
class _Good:
    """A row without a complaint."""

    row: int
    digests: tuple[str, str]
    pixels: npt.NDArray[np.intp]
    """(c,) labeled pixels of each class."""
    pair: tuple[Pixels, Mask] | None
    """If it fits the memory."""


def _settled(listing: MaskedListing, good: Sequence[_Good]) -> tuple[list[_Good], list[Quarantined], list[str]]:
    """Each image once, those of equal bytes whose masks contradict each other, none of which is used, and notes."""
    alike: dict[str, list[_Good]] = defaultdict(list)
    for one in good:
        alike[one.digests[0]].append(one)
    kept, contradicting, notes, merged = [], list[Quarantined](), [], 0
    for equal in alike.values():
        if len({one.digests[1] for one in equal}) == 1:
            kept.append(equal[0])
            merged += len(equal) - 1
        else:
            uris = [listing.images[one.row] for one in equal]
            contradicting += [Quarantined(uri=uri, reason="equal bytes as another, and another mask") for uri in uris]
            notes.append(f"equal bytes, different masks, none of them is used: {', '.join(uris)}")
    if merged:
        notes.append(f"{merged:,} images are copies of others, with the same mask; each is used once")
    return sorted(kept, key=lambda one: one.row), contradicting, notes


def _read_all(
    listing: MaskedListing,
    rows: Sequence[int],
    classes: MaskClasses,
    transform: DenseTransform,
    regions: Regions | None,
) -> Iterator[_Read | Quarantined]:
    def one(row: int) -> _Read | Quarantined:
        uri = listing.images[row]
        try:
            data = fetch(uri)
            pixels = decode(data)
            values, digest = listing.masks[row].read(decode_mask)
            check_same_size(pixels, values)
            codes = _labeled(classes.codes(values), uri, regions)
            pair = _scaled(pixels, codes, transform)
            if not (pair[1] != IGNORED).any():
                raise DataError(NOTHING_LEFT)
            labeled = digest if regions is None else digest_value([digest, [list(part) for part in regions[uri]]])
            return _Read(pair, (digest_bytes(data), labeled))
        except DataError as error:
            return Quarantined(uri=uri, reason=str(error).removeprefix(f"{uri}: "))

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="decode") as workers:
        # Blocks, so that a large set does not queue all of its pixels at once.
        for start in range(0, len(rows), VALUES_FROM):
            yield from workers.map(one, rows[start : start + VALUES_FROM])


def check_same_size(pixels: Pixels, values: MaskValues) -> None:
    """Refuse an image and a mask of different sizes; raises ``DataError``."""
    if pixels.shape[:2] != values.shape:
        image, mask = ("x".join(map(str, shape[1::-1])) for shape in (pixels.shape, values.shape))
        raise DataError(f"the image is {image} pixels, its mask {mask}")


def _scaled(pixels: Pixels, codes: Mask, transform: DenseTransform) -> tuple[Pixels, Mask]:
    small = apply_dense(pixels, transform)
    return small, resized(codes, *small.shape[:2])


def _labeled(codes: Mask, uri: str, regions: Regions | None) -> Mask:
    some = () if regions is None else regions[uri]
    return within(codes, some) if some else codes


def _wanted(listing: MaskedListing, regions: Regions | None) -> list[int]:
    """Rows with labels.

    Raises:
        UsageError: regions of an image that is not listed.
    """
    if regions is None:
        return list(range(len(listing.images)))
    index = {uri: row for row, uri in enumerate(listing.images)}
    if unknown := [uri for uri in regions if uri not in index]:
        raise UsageError(f"{listing.name} holds no image {unknown[0]!r} with a mask")
    return sorted(index[uri] for uri in regions)


def _version(images: Sequence[str], good: Sequence[_Good], classes: MaskClasses) -> str:
    plain = [[Path(uri).name, *one.digests] for uri, one in zip(images, good, strict=True)]
    return digest_value([plain, list(classes.classes), list(classes.values), list(classes.ignored)])
