"""Public image sets with masks: where they lie, which images a pool holds, and which of them have small defects."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresift.core.errors import DataError, UnknownNameError
from foresift.inference.masks import decode_mask
from foresift.sources.segmentation import MaskedListing, masked_images

CAMVID_CLASSES = (
    "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist",
    (11,),
)
NEU_CLASSES = ("background,inclusion,patch,scratch", ())
SETS: dict[str, tuple[str, tuple[int, ...]]] = {"camvid": CAMVID_CLASSES, "neu-seg": NEU_CLASSES}
"""Class names in the order of their values, and the values that do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSet:
    """A set with the splits ``train`` and ``test``."""

    name: str
    root: Path
    listing: MaskedListing
    """Of the split ``train``: what pools are drawn from."""

    @property
    def classes(self) -> str:
        """As ``--classes`` takes them."""
        return SETS[self.name][0]

    @property
    def ignored(self) -> tuple[int, ...]:
        """Values of pixels that do not count."""
        return SETS[self.name][1]

    def pool(self, size: int, *, seed: int) -> list[str]:
        """Paths of the images of a seed's pool, in ascending order; size 0 = nine tenths of all."""
        n = len(self.listing.images)
        wanted = size or 9 * n // 10
        rows = np.sort(np.random.default_rng([seed, 11]).permutation(n)[:wanted])
        return [self.listing.images[row] for row in rows.tolist()]


def mask_set(name: str, data: Path, *, cache: Path) -> MaskSet:
    """A set by name: the folder ``NAME`` of ``data``, else its archive, unpacked once below ``cache``.

    Raises:
        UnknownNameError: no such set.
        DataError: neither folder nor archive.
    """
    if name not in SETS:
        raise UnknownNameError("image set", name, SETS)
    root = data / name if (data / name).is_dir() else _unpacked(name, data, cache)
    return MaskSet(name=name, root=root, listing=masked_images(root, "train"))


def defect_shares(listing: MaskedListing, images: Sequence[str], *, background: int = 0) -> dict[str, float]:
    """The share of each image's pixels that is not background."""
    at = {image: row for row, image in enumerate(listing.images)}
    shares = {}
    for image in images:
        values, _ = listing.masks[at[image]].read(decode_mask)
        shares[image] = float((values != background).mean())
    return shares


def _unpacked(name: str, data: Path, cache: Path) -> Path:
    archive, root = data / f"{name}.tar.gz", cache / name
    if root.is_dir():
        return root
    if not archive.is_file():
        raise DataError(f"{data} holds neither {name}.tar.gz nor a folder {name}; see the data's own README")
    partial = cache / f"{name}.partial"
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    (partial / name).replace(root)
    partial.rmdir()
    return root
