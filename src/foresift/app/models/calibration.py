"""A model's network in int8 for one pool: which images it is calibrated on, and the graph; both are kept.

The images are drawn once a pool and pass, by their contents and a seed, so that a new image in the pool, another
worker and a second call go on with the same graph: rows of different graphs would not belong together.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foresift.app.workspace import Workspace
from foresift.core.arrays import Pixels
from foresift.core.digests import digest_bytes, digest_value
from foresift.core.errors import EmptyPoolError, ModelError, StoreError
from foresift.engines import INT8, engine_identity
from foresift.stores.files import disk_errors, locked, read_json, write_json

if TYPE_CHECKING:
    from torch import nn

IMAGES = 256
"""So many images, or all that there are: more move the ranges little."""
SEED = 0
RANGES = "minmax"
"""How ranges follow from what was seen (:mod:`foresift.engines.openvino_int8`)."""
GRAPH, WEIGHTS, RECORD = "graph.xml", "graph.bin", "record.json"
Draw = Callable[[npt.NDArray[np.str_], int], tuple[npt.NDArray[np.str_], Pixels]]
"""Up to so many images of the given digests that can be decoded: which, and their pixels."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The images that the ranges of a quantised network are taken from."""

    images: tuple[str, ...]
    """Digests of their contents, in the order in which they are seen."""
    seed: int = SEED

    @property
    def digest(self) -> str:
        """Of the images and their order, and of how ranges are taken from them."""
        return digest_value([RANGES, list(self.images)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a receipt, without the images themselves."""
        return {"images": len(self.images), "seed": self.seed, "digest": self.digest}


def read_calibration(path: Path) -> Calibration | None:
    """The images that were drawn; None where none were, or the file is damaged: drawing again is cheap."""
    if not path.is_file():
        return None
    try:
        plain = read_json(path)
        return Calibration(tuple(map(str, plain["images"])), int(plain["seed"]))
    except (StoreError, KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """A network in int8 for one pass over one pool."""

    workspace: Workspace
    place: str
    """Names what is remembered of this pass over this pool, whatever the pool holds by now."""
    key: tuple[str, ...]
    """What the network and its pixels follow from."""
    digests: npt.NDArray[np.str_]
    """Of all images, ascending."""
    draw: Draw
    size: int
    """Side of the images in pixels."""

    def calibration(self) -> Calibration:
        """Images of the pool to calibrate on: those that were drawn before, else drawn now and kept.

        Raises:
            EmptyPoolError: not one can be decoded.
        """
        record = self.workspace.calibration(self.place)
        if (known := read_calibration(record)) is not None:
            return known
        with locked(record.with_suffix(".lock")):
            return read_calibration(record) or self._drawn(record)

    def _drawn(self, record: Path) -> Calibration:
        kept = self.draw(_shuffled(self.digests), IMAGES)[0]
        if not len(kept):
            raise EmptyPoolError("not one image of the pool can be decoded; see the quarantine reasons with --json")
        made = Calibration(tuple(kept.tolist()))
        write_json(record, {**made.to_dict(), "images": list(made.images), "engine": list(engine_identity(INT8))})
        return made

    def graph(self, network: nn.Module) -> Path:
        """The graph: the one that is kept under what it follows from, else made now.

        Args:
            network: (b, size, size, 3) uint8 pixels to logits and embeddings.
        Raises:
            EmptyPoolError: not one image can be decoded.
            ModelError: an image of the calibration is no longer in the pool, and no graph is kept; the network can't
                be quantised.
        """
        calibration = self.calibration()
        what = {"key": list(self.key), "engine": list(engine_identity(INT8)), "calibration": calibration.digest}
        folder = self.workspace.quantised / digest_value(what)
        if not _whole(folder):
            # A second process waits for the first one's graph instead of making its own over it.
            with locked(folder.with_suffix(".lock")):
                if not _whole(folder):
                    said = {**what, **calibration.to_dict(), "images": list(calibration.images)}
                    self._make(folder, calibration, network, said)
        return folder / GRAPH

    def _make(self, folder: Path, calibration: Calibration, network: nn.Module, said: Mapping[str, Any]) -> None:
        pixels = self._pixels(calibration)
        with disk_errors(folder):
            _make(folder, pixels, network, self.size, said)

    def _pixels(self, calibration: Calibration) -> Pixels:
        wanted = np.array(calibration.images, dtype="<U40")
        kept, pixels = self.draw(wanted, len(wanted))
        if lost := len(wanted) - len(kept):
            raise ModelError(
                f"{lost} of the {len(wanted)} images that {INT8} is calibrated on are no longer in the pool; put them "
                f"back, delete {self.workspace.calibration(self.place)} to have others drawn, or use --engine torch"
            )
        return pixels


def _make(folder: Path, pixels: Pixels, network: nn.Module, size: int, said: Mapping[str, Any]) -> None:
    """The graph, whole or not at all: written beside, then renamed."""
    from foresift.engines.openvino_int8 import write_int8

    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        write_int8(network, pixels, size=size, path=beside / GRAPH)
        write_json(beside / RECORD, {**said, "files": {name: _digest(beside / name) for name in (GRAPH, WEIGHTS)}})
        shutil.rmtree(folder, ignore_errors=True)  # torn or damaged, or nothing
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _whole(folder: Path) -> bool:
    """Whether a graph is there as it was written."""
    try:
        files: Mapping[str, str] = read_json(folder / RECORD)["files"]
        return all(_digest(folder / name) == files[name] for name in (GRAPH, WEIGHTS))
    except (StoreError, OSError, KeyError, TypeError):
        return False


def _digest(path: Path) -> str:
    return digest_bytes(path.read_bytes())


def _shuffled(digests: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """The digests in an order that follows from each alone, so that the first ones are a random sample."""
    keys = np.array([digest_value([SEED, digest]) for digest in digests.tolist()])
    return digests[np.argsort(keys, kind="stable")]
