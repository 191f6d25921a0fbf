from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from foresift.core.errors import DataError
from foresift.inference.decode import decode
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.digits import test_rows as rows_for_testing
from foresift.sources.digits import write_digits
from foresift.sources.folder import FolderSource


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"))


def test_the_split_is_1347_to_450_and_even_over_digits(digits: Path) -> None:
    target = load_digits().target
    for part, n in (("train", 1347), ("test", 450)):
        pool = FolderSource(digits / part).pool(DictDigestMemory(), need_digests=True)
        assert len(pool) == n
        assert pool.classes == tuple("0123456789")
        assert np.abs(np.bincount(pool.codes) - np.bincount(target) * n / 1797).max() <= 1


def test_pixels_are_those_of_the_data_set(digits: Path) -> None:
    bunch = load_digits()
    for index in (0, 700, 1796):
        [file] = digits.glob(f"*/{bunch.target[index]}/{index:04d}.png")
        assert np.array_equal(decode(file.read_bytes())[..., 0], np.rint(bunch.images[index] * 255 / 16))


def test_writing_again_completes_and_changes_nothing(digits: Path) -> None:
    files = sorted(digits.glob("*/*/*.png"))
    gone, torn, kept = files[0], files[5], files[9]
    contents, stamp = [gone.read_bytes(), torn.read_bytes()], kept.stat().st_mtime_ns
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:9])
    write_digits(digits)
    assert [gone.read_bytes(), torn.read_bytes()] == contents
    assert kept.stat().st_mtime_ns == stamp
    assert sorted(p for p in digits.rglob("*") if p.is_file()) == files


def test_rows_for_testing_depend_on_the_digits_only() -> None:
    assert rows_for_testing(load_digits().target).sum() == 450


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="give another folder"):
        write_digits(tmp_path / "file")
