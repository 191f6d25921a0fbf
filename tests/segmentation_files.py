"""Small sets of images with masks on disk, shared by the tests of several rooms."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def write_png(path: Path, values: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, format="PNG")
    return path


def write_squares(root: Path, *, split: str = "train", count: int = 6, size: tuple[int, int] = (24, 32)) -> Path:
    """Images with a light square on a dark ground; the masks say where it is, and ignore (9) their first row."""
    rng = np.random.default_rng(len(split))
    for row in range(count):
        pixels = rng.integers(0, 60, size=(*size, 3), dtype=np.uint8)
        mask = np.zeros(size, dtype=np.uint8)
        top, left = rng.integers(2, size[0] - 10), rng.integers(0, size[1] - 10)
        pixels[top : top + 10, left : left + 10] += 180
        mask[top : top + 10, left : left + 10] = 1
        mask[0] = 9
        write_png(root / "images" / split / f"{row:02d}.png", pixels)
        write_png(root / "masks" / split / f"{row:02d}.png", mask)
    return root


def unpack_few(archive: Path, root: Path, *, split: str, count: int) -> Path:
    """The first images of a split of ``camvid.tar.gz`` or ``neu-seg.tar.gz``, with their masks."""
    name = archive.name.partition(".")[0]
    wanted: dict[str, set[str]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            if not member.isfile() or path.parts[0] != name or path.parts[2] != split:
                continue
            kept = wanted.setdefault("stems", set())
            if len(kept) < count:
                kept.add(path.stem)
            if path.stem in kept:
                target = root / Path(*path.parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
            if _complete(root, split, kept, count):
                return root
    raise AssertionError(f"{archive} has no {count} pairs of {split}")


def _complete(root: Path, split: str, stems: set[str], count: int) -> bool:
    parts = [{path.stem for path in (root / part / split).glob("*")} for part in ("images", "masks")]
    return len(stems) == count and all(part == stems for part in parts)
