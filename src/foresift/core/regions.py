"""Rectangles of images as samples of their own: their ids say which image and which rectangle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_ID = re.compile(r"(?s)(.*)#(\d+),(\d+),(\d+),(\d+)")


class Region(NamedTuple):
    """A rectangle of an image, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Its area."""
        return self.width * self.height

    @property
    def box(self) -> tuple[int, int, int, int]:
        """left, top, right, bottom, as Pillow counts."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def __str__(self) -> str:
        return ",".join(map(str, self))


def region_id(sample: Any, region: Region) -> str:
    """``SAMPLE#x,y,w,h``."""
    return f"{sample}#{region}"


def split_id(sample: Any) -> tuple[str, Region | None]:
    """The image's id as text, and the region of it; None where the id names a whole image."""
    match = _ID.fullmatch(str(sample))
    if match is None:
        return str(sample), None
    left, top, width, height = map(int, match.groups()[1:])
    return match[1], Region(left, top, width, height)


def regions_of(height: int, width: int, side: int) -> Iterator[Region]:
    """The squares of ``side`` that cover an image without overlap, row by row; smaller ones at the border."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Region(left, top, min(side, width - left), min(side, height - top))
