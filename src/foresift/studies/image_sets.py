"""Public image sets as arrays, read from their archives or unpacked folders; nothing is unpacked on disk."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, UnknownNameError
from foresift.core.generations import Transform
from foresift.inference.transform import load
from foresift.sources.digits import test_rows

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """A pool whose labels are known but hidden, and a test part that nothing chooses from."""

    name: str
    classes: tuple[str, ...]
    pixels: Pixels
    """(n, s, s, 3), in memory or mapped from a file"""
    codes: Codes
    """(n,)"""
    test_pixels: Pixels
    test_codes: Codes
    transform: Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How one archive becomes a pool and a test part."""

    size: int
    """Side in pixels."""
    part: Callable[[PurePosixPath, int], str]
    """(path inside the archive, how many of its class came before) -> ``pool``, ``test`` or nothing."""


def _cifar(pool: int, test: int) -> Callable[[PurePosixPath, int], str]:
    def part(path: PurePosixPath, before: int) -> str:
        if path.parts[1] == "train":
            return "pool" if before < pool else ""
        return "test" if before < test else ""

    return part


def _caltech(path: PurePosixPath, before: int) -> str:
    """Every third image of a class is for testing; the background is no class of objects."""
    if path.parts[-2] == "BACKGROUND_Google":
        return ""
    return "test" if before % 3 == 2 else "pool"


SOURCES = {
    "cifar10": Source(size=32, part=_cifar(1_000, 1_000)),
    "caltech101": Source(size=64, part=_caltech),
    "cifar10-50k": Source(size=32, part=_cifar(5_000, 1_000)),
    "cifar10-small": Source(size=32, part=_cifar(40, 30)),
    "cifar100": Source(size=32, part=_cifar(500, 100)),
    "imagenet-64": Source(size=64, part=_cifar(1_300, 50)),
}
"""Name to source; the part before the hyphen is the archive's name."""
DIGITS = "digits"
"""The set that needs no archive."""


def data_folder(given: Path | None) -> Path:
    """Where the archives lie: as given, else ``$FORESIFT_DATA``.

    Raises:
        DataError: neither is a folder.
    """
    folder = given or Path(os.environ.get("FORESIFT_DATA", ""))
    if not str(folder) or str(folder) == "." or not folder.is_dir():
        raise DataError("studies need the image sets: give their folder with --data, or set FORESIFT_DATA")
    return folder


def image_set(name: str, folder: Path, *, cache: Path | None = None) -> ImageSet:
    """A set by name, decoded once and kept in ``cache`` as one file.

    Args:
        folder: holds ``NAME.tar.gz`` or a folder ``NAME``.
    Raises:
        UnknownNameError: no such set.
        DataError: neither the archive nor the folder is there.
    Cost: the pixels in memory; reading CIFAR-10's archive takes some ten seconds.
    """
    if name == DIGITS:
        return _digits()
    if name not in SOURCES:
        raise UnknownNameError("image set", name, (DIGITS, *SOURCES))
    kept = None if cache is None else cache / f"{name}.npz"
    if kept is not None and kept.exists():
        return _read(name, kept)
    made = _decode(name, folder)
    if kept is not None:
        _keep(made, kept)
    return made


def scaled(pixels: Pixels, side: int) -> Pixels:
    """(n, side, side, 3) uint8: each pixel the mean of those it stands for.

    Raises:
        DataError: the images' side is no multiple of ``side``.
    """
    factor, rest = divmod(pixels.shape[1], side)
    if rest or not factor:
        raise DataError(f"images of {pixels.shape[1]} px can't be averaged down to {side} px")
    if factor == 1:
        return pixels
    cells = pixels.reshape(len(pixels), side, factor, side, factor, 3)
    means: Pixels = np.rint(cells.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
    return means


def _digits() -> ImageSet:
    """scikit-learn's digits, split as :func:`foresift.sources.digits.write_digits` does."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    codes = bunch.target.astype(np.int64)
    test = test_rows(bunch.target)
    return ImageSet(
        name=DIGITS,
        classes=tuple(map(str, range(10))),
        pixels=pixels[~test],
        codes=codes[~test],
        test_pixels=pixels[test],
        test_codes=codes[test],
        transform=Transform(size=pixels.shape[1]),
    )


def _decode(name: str, folder: Path) -> ImageSet:
    source, transform = SOURCES[name], Transform(size=SOURCES[name].size)
    counts: dict[tuple[str, str], int] = {}
    rows: dict[str, list[tuple[str, Pixels]]] = {"pool": [], "test": []}
    for path, fetch in _members(name.partition("-")[0], folder):
        key = (str(path.parent), path.parts[-2])
        before = counts.get(key, 0)
        counts[key] = before + 1
        if part := source.part(path, before):
            rows[part].append((path.parts[-2], load(fetch(), transform)))
    classes = tuple(sorted({label for label, _ in rows["pool"]}))
    at = {label: code for code, label in enumerate(classes)}
    arrays = {
        part: (np.stack([p for _, p in found]), np.array([at[label] for label, _ in found], dtype=np.int64))
        for part, found in rows.items()
    }
    return ImageSet(
        name=name,
        classes=classes,
        pixels=arrays["pool"][0],
        codes=arrays["pool"][1],
        test_pixels=arrays["test"][0],
        test_codes=arrays["test"][1],
        transform=transform,
    )


def _members(stem: str, folder: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """Image files in order of path: of the unpacked folder if there is one, else of the archive."""
    root, archive = folder / stem, folder / f"{stem}.tar.gz"
    if root.is_dir():
        for file in sorted(root.rglob("*.jpg")):
            yield PurePosixPath(file.relative_to(folder).as_posix()), file.read_bytes
        return
    if not archive.is_file():
        raise DataError(f"{folder} holds neither {stem}.tar.gz nor a folder {stem}; see the data's own README")
    with tarfile.open(archive) as tar:
        # One pass over a compressed stream; order of path is made afterwards, from bytes in memory.
        found = [(PurePosixPath(m.name), _bytes(tar, m)) for m in tar if m.isfile() and m.name.endswith(".jpg")]
    for path, data in sorted(found):
        yield path, lambda data=data: data  # type: ignore[misc]


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None  # noqa: S101 - it is a file
    return stream.read()


def _keep(made: ImageSet, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        classes=np.array(made.classes),
        pixels=made.pixels,
        codes=made.codes,
        test_pixels=made.test_pixels,
        test_codes=made.test_codes,
    )
    temporary.replace(path)


def _read(name: str, path: Path) -> ImageSet:
    with np.load(path, allow_pickle=False) as kept:
        return ImageSet(
            name=name,
            classes=tuple(kept["classes"].tolist()),
            pixels=kept["pixels"],
            codes=kept["codes"],
            test_pixels=kept["test_pixels"],
            test_codes=kept["test_codes"],
            transform=Transform(size=SOURCES[name].size),
        )
