"""What a run's tables and labels say of masks, as listings of images with masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from foresift.app.pixels.images import Regions
from foresift.app.pixels.learned import Units
from foresift.app.runs.kept_masks import Truth, keep_mask, mask_complaint, mask_path, part_of
from foresift.app.runs.pool_files import image_values, table_columns
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.masks import MaskClasses, MaskValues
from foresift.core.regions import Region, split_id
from foresift.core.rounds import SampleId
from foresift.inference.decode import decode
from foresift.inference.masks import decode_mask
from foresift.sources.labels import read_labels
from foresift.sources.read import fetch
from foresift.sources.segmentation import DecodeMask, MaskedListing, MaskFile, MaskReference


def measured_on(evaluation: Path, classes: MaskClasses) -> MaskedListing:
    """The images that a run is measured on, with the masks that they had when it began."""
    uris, paths, digests = table_columns(evaluation, "uri", "mask", "digest")
    return _listing(str(evaluation), zip(uris, map(Truth, paths, digests), strict=True), classes)


class Drawn(NamedTuple):
    """What came back for a sample."""

    region: Region | None
    """None = all of the image."""
    path: str
    """Of a mask as large as the region, or as the image."""


@dataclass(frozen=True, slots=True)
class PaintedMask:
    """The mask of an image, painted from what came back for its regions; what lies outside of them means nothing."""

    uri: str
    drawn: tuple[Drawn, ...]
    """In the order of painting."""
    outside: int
    """A value that stands for a class."""

    @property
    def path(self) -> str:
        """It has no file of its own."""
        return ""

    def read(self, decode_values: DecodeMask) -> tuple[MaskValues, str]:
        """(h, w) values, and the digest of what they were painted from."""
        height, width = decode(fetch(self.uri)).shape[:2]
        values = np.full((height, width), self.outside, dtype=np.int64)
        for region, path in self.drawn:
            left, top, right, lower = (region or Region(0, 0, width, height)).box
            mask = decode_values(fetch(path))
            values[top:lower, left:right] = mask if region is None else part_of(mask, region)
        return values, digest_value([[list(one.region or ()), Path(one.path).name] for one in self.drawn])


class Labeled(NamedTuple):
    """What a labels file says of masks."""

    listing: MaskedListing
    regions: Regions | None
    """What of each image is labeled; None where all of every one is."""
    units: Units
    """The samples by the path of their image."""


def labeled_with(workspace: Workspace, candidates: Path, labels: Path, classes: MaskClasses, *, name: str) -> Labeled:
    """The images of a labels file, with the masks that it names by their addresses, and what of them is labeled.

    Kept masks are named by their content, so that their names say what a mask was painted from.

    Args:
        name: of the pool.
    """
    table = read_labels(labels)
    uris = uris_by_text(candidates, table.ids)
    drawn: dict[str, list[Drawn]] = defaultdict(list)
    units: dict[str, list[str]] = defaultdict(list)
    for sample, address in sorted(zip(table.ids, table.labels, strict=True)):
        drawn[uris[sample]].append(Drawn(split_id(sample)[1], str(mask_path(workspace, address))))
        units[uris[sample]].append(sample)
    masks = [(uri, _mask_of(uri, own, classes)) for uri, own in drawn.items()]
    return Labeled(_listing(name, masks, classes), _regions(drawn), units)


def uris_by_text(candidates: Path, samples: Sequence[str]) -> dict[str, str]:
    """Where the images of samples lie, by their ids as files spell them: where ids are numbers too."""
    numbers = [int(one) for one in samples if one.removeprefix("-").isdecimal()]
    found = {**image_values(candidates, samples, "uri"), **image_values(candidates, numbers, "uri")}
    return {str(sample): uri for sample, uri in found.items()}


def _mask_of(uri: str, own: Sequence[Drawn], classes: MaskClasses) -> MaskReference:
    if len(own) == 1 and own[0].region is None:
        return MaskFile(own[0].path)
    return PaintedMask(uri, tuple(sorted(own, key=lambda one: one.region is not None)), classes.values[0])


def _regions(drawn: Mapping[str, Sequence[Drawn]]) -> Regions | None:
    """What of each image is labeled; None where all of every one is."""
    if all(one.region is None for own in drawn.values() for one in own):
        return None
    return {
        uri: () if any(one.region is None for one in own) else tuple(one.region for one in own if one.region)
        for uri, own in drawn.items()
    }


def true_masks(workspace: Workspace, truth: Path, samples: Sequence[SampleId], classes: MaskClasses) -> list[str]:
    """The addresses of the masks that samples had when the run began, kept in the workspace from now on.

    "" for a region of which every pixel is ignored: nobody can tell what it shows.

    Raises:
        UsageError: one of them is gone, or another one.
    """
    paths, digests = (image_values(truth, samples, name) for name in ("mask", "digest"))
    return [_true_mask(workspace, Truth(paths[one], digests[one]), split_id(one)[1], classes) for one in samples]


def _true_mask(workspace: Workspace, truth: Truth, region: Region | None, classes: MaskClasses) -> str:
    """The address of a mask of which something counts, else ""."""
    data = truth.data()
    if region is not None and mask_complaint(part_of(decode_mask(data), region), region.height, region.width, classes):
        return ""
    return keep_mask(workspace, data)


def _listing(name: str, pairs: Iterable[tuple[str, MaskReference]], classes: MaskClasses) -> MaskedListing:
    """In ascending order of path."""
    ordered = sorted(pairs, key=lambda pair: pair[0])
    return MaskedListing(
        name=name,
        images=tuple(uri for uri, _ in ordered),
        masks=tuple(mask for _, mask in ordered),
        classes=classes,
    )
