"""A small real image set that needs no download: scikit-learn's handwritten digits as files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.core.errors import DataError

N_TEST = 450


def write_digits(folder: str | Path) -> Path:
    """The 1797 digits as 8 x 8 grey PNG files ``{train,test}/<digit>/<index>.png``; gives the folder.

    1347 train and 450 test images: of all images in order of (digit, index), every
    1797 / 450-th is a test image, so each digit's share differs by at most one image.
    What is there already is left alone; what an interrupted run left out is written.

    Raises:
        DataError: the folder can't be written.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # 0 .. 16 in the data set, 0 .. 255 in the files
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    is_test = test_rows(bunch.target)
    root = Path(folder)
    for index, digit in enumerate(bunch.target.tolist()):
        part = "test" if is_test[index] else "train"
        file = root / part / str(digit) / f"{index:04d}.png"
        try:
            _write_once(file, _png(pixels[index]))
        except OSError as error:
            raise DataError(f"{file}: can't be written ({error.strerror}); give another folder") from None
    return root


def test_rows(digits: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """(n,) which images are for testing."""
    n = len(digits)
    place = np.empty(n, dtype=np.int64)
    place[np.argsort(digits, kind="stable")] = np.arange(n)
    return (place + 1) * N_TEST // n > place * N_TEST // n


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write_once(file: Path, data: bytes) -> None:
    """Write the file in one step; the hidden name keeps a half-written one out of every listing."""
    if file.exists() and file.stat().st_size == len(data):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(data)
    part.replace(file)
