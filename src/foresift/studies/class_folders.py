"""Image sets of any size as folders of classes, such as ImageNet: decoded once into a file that is read row by row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.digests import digest_value
from foresift.core.errors import DataError, UsageError
from foresift.core.generations import Transform
from foresift.core.protocols import Progress
from foresift.inference.decode import DecodeError
from foresift.inference.transform import load
from foresift.sources.read import fetch
from foresift.stores.files import disk_errors, locked, require_room, write_atomically
from foresift.studies.image_sets import DIGITS, SOURCES, ImageSet

SUFFIXES = (".jpeg", ".jpg", ".png")
PARTS = ("train", "val")
"""The pool, and the test part."""
CHUNK = 256
"""Images decoded between two looks at the disk."""


def class_folders(
    name: str, data: Path, *, side: int, cache: Path, progress: Progress, with_test: bool = True
) -> ImageSet:
    """``train/CLASS/*.JPEG`` and ``val/CLASS/*.JPEG`` below ``data / name``, the centre of each ``side`` x ``side``.

    Decoding that was interrupted goes on where it was; two processes do it once. Pixels stay on disk. Files that were
    added, removed or replaced make a set of another name.

    Args:
        with_test: whether the files of ``val`` are opened; without, the test part is empty.
    Raises:
        DataError: another layout, or an image that can't be decoded.
        UsageError: no side.
        StoreError: no room for the decoded pixels.
    Cost: 3 x side^2 bytes of disk an image, which is 200 GB for ImageNet at 224.
    """
    if not side:
        raise UsageError(f"{name}: name the side to which images in folders are decoded, such as side: 224")
    classes, listed = _listed(data / name)
    if not with_test:
        listed = {**listed, PARTS[1]: []}
    root = data / name
    stem = f"{Path(name).name}-{side}-{digest_value([str(root.absolute()), listed])[:12]}"
    targets = [cache / f"{stem}-{part}.rgb" for part in PARTS]
    files = [[root / part / file for file in listed[part]] for part in PARTS]
    stamps = [_stamps(some) for some in files]
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{stem}.lock"):  # nobody else writes while sizes are looked at
        row = _row_bytes(side)
        missing = sum(
            len(some) * row - _kept(path, now, row) for path, some, now in zip(targets, files, stamps, strict=True)
        )
        require_room(cache, missing, what=f"{name} decoded to {side} x {side}")
        for path, some in zip(targets, files, strict=True):
            if some and not path.exists():
                _decode(some, path, side=side, progress=progress)
    pixels, test_pixels = (_opened(path, len(some), side=side) for path, some in zip(targets, files, strict=True))
    codes, test_codes = (_codes(listed[part], classes) for part in PARTS)
    return ImageSet(
        name=f"{stem}-{digest_value([one.tolist() for one in stamps])[:12]}",
        classes=classes,
        pixels=pixels,
        codes=codes,
        test_pixels=test_pixels,
        test_codes=test_codes,
        transform=_transform(side),
    )


def _listed(root: Path) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Classes in order of name; for each part ``CLASS/FILE`` in order of path."""
    found: dict[str, list[str]] = {}
    for part in PARTS:
        if not (root / part).is_dir():
            raise DataError(
                f"{root / part}: no such folder; expected {root.name}/train/CLASS/*.JPEG and "
                f"{root.name}/val/CLASS/*.JPEG, or one of the sets {', '.join((DIGITS, *SOURCES))}"
            )
        names = sorted(entry.name for entry in os.scandir(root / part) if entry.is_dir())
        found[part] = [f"{name}/{file}" for name in names for file in _files(root / part / name)]
    train, val = ({path.partition("/")[0] for path in found[part]} for part in PARTS)
    if not train or train != val:
        odd = ", ".join(sorted(train ^ val)[:3]) or "none at all"
        raise DataError(f"{root}: train and val must hold images of the same classes; only one of them has: {odd}")
    return tuple(sorted(train)), found


def _files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(SUFFIXES))


def _codes(paths: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    at = {name: code for code, name in enumerate(classes)}
    return np.array([at[path.partition("/")[0]] for path in paths], dtype=np.int64)


def _stamps(files: Sequence[Path]) -> npt.NDArray[np.int64]:
    """(n, 2) size and time of change: of an image that is replaced, one of them is another."""
    found = np.empty((len(files), 2), dtype=np.int64)
    for at, file in enumerate(files):
        with disk_errors(file):
            status = file.stat()
        found[at] = status.st_size, status.st_mtime_ns
    return found


def _kept(path: Path, now: npt.NDArray[np.int64], row: int) -> int:
    """Bytes that need no decoding; what was decoded from files that are others by now is removed.

    Afterwards a finished file is of these very images, and an unfinished one of the first of them.
    """
    partial, noted = _partial(path), path.with_suffix(".stamps")
    before = np.fromfile(noted, dtype=np.int64).reshape(-1, 2) if noted.exists() else now[:0]
    known = len(before) == len(now)
    others = (before != now).any(axis=1).nonzero()[0] if known else np.zeros(1, dtype=np.intp)
    same = int(others[0]) if len(others) else len(now)
    if path.exists() and same < len(now):
        path.unlink()
    if path.exists():
        return len(now) * row
    write_atomically(noted, now.tofile)
    if not partial.exists():
        return 0
    whole = min(same, partial.stat().st_size // row) * row
    os.truncate(partial, whole)
    return whole


def _opened(path: Path, count: int, *, side: int) -> Pixels:
    """(count, side, side, 3) on disk, not to be written to."""
    shape = (count, side, side, 3)
    return np.memmap(path, np.uint8, "r", shape=shape) if count else np.empty(shape, np.uint8)


def _decode(files: Sequence[Path], path: Path, *, side: int, progress: Progress) -> None:
    partial, row, transform = _partial(path), _row_bytes(side), _transform(side)

    def decoded(file: Path) -> bytes:
        try:
            return load(fetch(str(file)), transform).tobytes()
        except DecodeError as error:
            raise DataError(f"{file}: {error}") from None

    with disk_errors(partial), partial.open("ab") as out, ThreadPoolExecutor(os.cpu_count()) as threads:
        done = out.tell() // row  # what an interrupted call had finished
        out.truncate(done * row)
        progress.start(f"decoding {len(files):,} images into {path}, {len(files) * row:,} bytes", len(files))
        progress.advance(done)
        for start in range(done, len(files), CHUNK):
            for pixels in threads.map(decoded, files[start : start + CHUNK]):
                out.write(pixels)
                progress.advance(1)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
    progress.done()


def _transform(side: int) -> Transform:
    return Transform(size=side, resize="crop")


def _row_bytes(side: int) -> int:
    return 3 * side**2


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial")
