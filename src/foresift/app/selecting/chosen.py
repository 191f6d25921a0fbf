"""What a selection file names: images, or regions of them, in pick order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from foresift.app.selecting.receipts import read_receipt
from foresift.core.arrays import Pixels
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, EmptyPoolError
from foresift.core.masks import MaskClasses
from foresift.core.queries import Receipt
from foresift.core.regions import Region, split_id
from foresift.inference.decode import decode
from foresift.sources.read import fetch
from foresift.sources.tables import read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One pick."""

    rank: int
    id: str
    uri: str
    region: Region | None
    """None = all of the image."""
    score: str = ""

    @property
    def image_name(self) -> str:
        """A file name for the image that no other image has, without suffix."""
        return f"{PurePath(self.uri).stem}-{digest_bytes(self.uri.encode('utf-8', 'surrogateescape'))[:8]}"

    @property
    def name(self) -> str:
        """A file name for the pick, without suffix."""
        return self.image_name if self.region is None else f"{self.image_name}_{'-'.join(map(str, self.region))}"

    def part_of(self, pixels: Pixels) -> Pixels:
        """The pick's pixels of its image.

        Raises:
            DataError: the image is too small for the region.
        """
        if self.region is None:
            return pixels
        check_region(self.region, pixels, of=self.uri)
        left, top, right, lower = self.region.box
        return pixels[top:lower, left:right]


def read_chosen(selection: Path) -> tuple[Chosen, ...]:
    """The picks of a selection file.

    Raises:
        DataError: no selection file, or a row without an address.
        EmptyPoolError: not one row.
    """
    table = read_table(str(selection), wanted=("id", "uri", "rank", "score"))
    ids, uris = table.ids(), table.texts("uri")
    if ids is None or uris is None:
        raise DataError(f"{selection}: expected the columns id and uri of a file that foresift select wrote")
    ranks, scores = (table.texts(name) or [""] * len(table) for name in ("rank", "score"))
    picks = []
    for row, (sample, uri, rank, score) in enumerate(zip(ids, uris, ranks, scores, strict=True)):
        if not uri:
            raise DataError(f"{table.place(row)}: no uri; give a selection from a pool of images")
        place = int(rank) if rank.isdecimal() else row + 1
        picks.append(Chosen(rank=place, id=str(sample), uri=uri, region=split_id(sample)[1], score=score))
    if not picks:
        raise EmptyPoolError(f"{selection} names no image")
    return tuple(picks)


def by_image(picks: tuple[Chosen, ...]) -> Iterator[tuple[str, list[Chosen], Pixels]]:
    """Each image with its picks and its pixels, in order of the first pick; one image in memory at a time.

    Raises:
        DataError: an image that can't be read, or is too small for a region.
    """
    of: dict[str, list[Chosen]] = {}
    for pick in picks:
        of.setdefault(pick.uri, []).append(pick)
    for uri, own in of.items():
        try:
            pixels = decode(fetch(uri))
        except DataError as error:
            raise DataError(f"{uri}: {error}") from None
        for pick in own:
            if pick.region is not None:
                check_region(pick.region, pixels, of=uri)
        yield uri, own, pixels


def check_region(region: Region, pixels: Pixels, *, of: str) -> None:
    """Raise ``DataError`` unless a region lies inside of an image."""
    height, width = pixels.shape[:2]
    _, _, right, lower = region.box
    if right > width or lower > height or region.width < 1 or region.height < 1:
        raise DataError(f"{of} is {width} x {height} pixels; region {region} does not lie inside of it")


def classes_of(selection: Path) -> tuple[str, ...]:
    """The classes of the model that chose, where the receipt lies beside the file and names any."""
    return tuple(model_of(selection).get("classes", ()))


def model_of(selection: Path) -> Mapping[str, Any]:
    """What the receipt beside a selection file says of the model; empty without receipt or model."""
    receipt = _receipt_beside(selection)
    return {} if receipt is None else receipt.model


def receipt_of(selection: Path) -> str:
    """The id of the receipt beside a selection file; "" without one."""
    receipt = _receipt_beside(selection)
    return "" if receipt is None else receipt.id


def _receipt_beside(selection: Path) -> Receipt | None:
    path = selection.with_name(selection.name + ".receipt.json")
    return read_receipt(path) if path.is_file() else None


def mask_classes_of(model: Mapping[str, Any]) -> MaskClasses | None:
    """The classes of a segmentation model as a receipt names it, with their values in masks; None of another model."""
    if "values" not in model:
        return None
    return MaskClasses(**{name: tuple(model[name]) for name in ("classes", "values", "ignored")})
