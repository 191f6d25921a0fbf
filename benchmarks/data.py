"""CIFAR-10 as files, from the real data sets; unpacked once into a folder of the benchmark's own."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path


def cifar10(folder: Path) -> Path:
    """The unpacked set, ``{train,test}/<class>/NNNN.jpg``."""
    root = Path(os.environ.get("FORESIFT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    archive = root / "cifar10.tar.gz"
    if not archive.is_file():
        raise SystemExit(f"{archive} is not there; set FORESIFT_DATA to the folder of the image sets")
    target = folder / "cifar10"
    if not (folder / "unpacked").exists():
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (folder / "unpacked").touch()
    return target


def part(source: Path, target: Path, *, per_class: slice) -> Path:
    """A class-per-folder tree of hard links to some files of every class."""
    for kind in sorted(p for p in source.iterdir() if p.is_dir()):
        (target / kind.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(kind.iterdir())[per_class]:
            link = target / kind.name / file.name
            if not link.exists():
                os.link(file, link)
    return target
