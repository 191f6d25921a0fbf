"""Masks as runs keep them: by content in the workspace, or where they lie with the digest that they had."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, UsageError
from foresift.core.masks import MaskClasses, MaskValues
from foresift.core.regions import Region
from foresift.sources.read import fetch
from foresift.sources.segmentation import DecodeMask
from foresift.stores.files import write_atomically

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Truth:
    """A mask that was there when the run began; another one in its place is an error and no bad image."""

    path: str
    digest: str

    def read(self, decode: DecodeMask) -> tuple[MaskValues, str]:
        """The values in the file, and the digest of its bytes.

        Raises:
            UsageError: it is gone, or another one.
        """
        return decode(self.data()), self.digest

    def data(self) -> bytes:
        """The bytes of the file; raises as :meth:`read`."""
        try:
            data = fetch(self.path)
        except DataError as error:
            raise UsageError(f"mask {self.path} can't be read any more: {error}; put it back and resume") from None
        if digest_bytes(data) != self.digest:
            raise UsageError(
                f"mask {self.path} was changed since the run began; put it back and resume, or begin another run"
            )
        return data


def keep_mask(workspace: Workspace, data: bytes) -> str:
    """Keep a mask that somebody drew under its content digest; its address below the workspace's home."""
    address = f"masks/{digest_bytes(data)}.png"
    path = workspace.home / address
    if not path.is_file():
        write_atomically(path, lambda target: _fill(target, data))
    return address


def mask_path(workspace: Workspace, address: str) -> Path:
    """Where the mask of an address lies: one that came back is kept below the workspace's home."""
    return workspace.home / address


def mask_complaint(values: MaskValues, height: int, width: int, classes: MaskClasses | None) -> str:
    """Why a mask does not fit an image or region of that size, or the classes where they are known; "" if it does."""
    if values.shape != (height, width):
        return f"the mask is {values.shape[1]} x {values.shape[0]} pixels, expected {width} x {height}"
    if classes is None:
        return ""
    try:
        classes.codes(values)
    except DataError as error:
        return f"{error} ({_legend(classes)})"
    return ""


def part_of(values: MaskValues, region: Region) -> MaskValues:
    """The values of a region, from a mask of just that region or of the whole image; the mask itself if neither."""
    if values.shape == (region.height, region.width):
        return values
    left, top, right, lower = region.box
    fits = values.shape[0] >= lower and values.shape[1] >= right
    return values[top:lower, left:right] if fits else values


def png_of(values: MaskValues) -> bytes:
    """PNG of (h, w) class numbers, of 8 bits where they suffice."""
    kind = np.uint8 if values.max() <= np.iinfo(np.uint8).max else np.uint16
    buffer = io.BytesIO()
    Image.fromarray(values.astype(kind)).save(buffer, format="PNG")
    return buffer.getvalue()


def _legend(classes: MaskClasses) -> str:
    """What values mean, for people."""
    named = [f"{value} {name}" for value, name in zip(classes.values, classes.classes, strict=True)]
    shown = ", ".join(named[:_SHOWN]) + (", ..." if len(named) > _SHOWN else "")
    return f"classes: {shown}; ignored: {', '.join(map(str, classes.ignored)) or 'none'}"


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)
