"""A folder with one of every kind of broken file among good ones."""

from pathlib import Path

import pytest

from foresift.inference.decode import DecodeError, decode
from foresift.sources import open_source
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.read import fetch, printable
from images import BROKEN, GOOD


def reasons(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Reason by address, and the addresses of what decodes."""
    pool = open_source(folder).pool(DictDigestMemory(), need_digests=True)
    said = {entry.uri: entry.reason for entry in pool.quarantined}
    good = []
    for uri in pool.uris.tolist():
        try:
            decode(fetch(uri))
            good.append(uri)
        except DecodeError as error:
            said[uri] = str(error)
    return said, good


def test_thirty_kinds_and_more() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("kind", BROKEN)
def test_each_kind_is_reported_with_a_reason(kind: str, tmp_path: Path) -> None:
    path = BROKEN[kind](tmp_path)
    said, good = reasons(tmp_path)
    assert list(said) == [printable(str(path))]
    assert said[printable(str(path))].strip()
    assert not good


def test_all_kinds_in_one_folder_leave_the_good_ones(tmp_path: Path) -> None:
    broken = {printable(str(make(tmp_path))) for make in BROKEN.values()}
    whole = {str(make(tmp_path)) for make in GOOD.values()}
    said, good = reasons(tmp_path)
    assert set(said) == broken
    assert len(broken) == len(BROKEN)
    assert set(good) == whole
    assert len(whole) == len(GOOD)
