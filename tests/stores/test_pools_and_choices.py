"""Pool versions and engine choices on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresift.core.arrays import as_ids
from foresift.core.errors import StoreError
from foresift.core.samples import Quarantined
from foresift.stores.choices import read_choice, write_choice
from foresift.stores.pools import Snapshot, read_snapshot, write_snapshot


def snapshot(ids: list[object], *, digests: list[str] | None = None, labeled: int = 1) -> Snapshot:
    n = len(ids)
    return Snapshot(
        ids=as_ids(ids),
        digests=np.array(digests or [""] * n, dtype=np.str_),
        uris=np.array([f"/{name}.png" for name in ids], dtype=np.str_),
        labeled=np.arange(n) < labeled,
    )


@pytest.mark.parametrize("ids", [["a", "b", "ä"], [1, 2, 3]])
def test_a_pool_version_comes_back(ids: list[object], tmp_path: Path) -> None:
    given = snapshot(ids, digests=["x", "y", "z"])
    read = read_snapshot(tmp_path, write_snapshot(tmp_path, given))
    assert read is not None
    for name in ("ids", "digests", "uris", "labeled"):
        np.testing.assert_array_equal(getattr(read, name), getattr(given, name))
    assert read.ids.dtype.kind == given.ids.dtype.kind
    assert read.key == given.key


def test_the_key_tells_everything_but_addresses_apart() -> None:
    base = snapshot(["a", "b"])
    others = [snapshot(["a", "c"]), snapshot(["a", "b"], digests=["x", "y"]), snapshot(["a", "b"], labeled=2)]
    moved = Snapshot(ids=base.ids, digests=base.digests, uris=base.uris[::-1], labeled=base.labeled)
    assert len({base.key, *(other.key for other in others)}) == 4
    assert moved.key == base.key


def test_broken_files_come_back_with_their_reasons(tmp_path: Path) -> None:
    broken = (Quarantined(uri="/ä.png", reason="zero bytes long"), Quarantined(uri="/b.png", reason="damaged"))
    given = replace(snapshot(["a"]), quarantined=broken)
    read = read_snapshot(tmp_path, write_snapshot(tmp_path, given))
    assert read is not None
    assert (read.quarantined, read.key) == (broken, given.key)
    assert given.key != snapshot(["a"]).key


def test_what_only_some_selections_read_comes_back_and_counts(tmp_path: Path) -> None:
    base = snapshot(["a", "b"])
    more = {"codes": np.array([3, -1]), "groups": np.array(["x", ""]), "refused": np.array([False, True])}
    keys = {base.key}
    for name, values in more.items():
        given = replace(base, **{name: values})
        read = read_snapshot(tmp_path, write_snapshot(tmp_path, given))
        assert read is not None
        np.testing.assert_array_equal(getattr(read, name), values)
        assert all(getattr(read, other) is None for other in more if other != name)
        assert read.key == given.key
        keys.add(given.key)
    assert len(keys) == 4


def test_the_same_version_is_written_once(tmp_path: Path) -> None:
    key = write_snapshot(tmp_path, snapshot(["a"]))
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    assert write_snapshot(tmp_path, snapshot(["a"])) == key
    assert file.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [file]


def test_an_absent_version_is_none_and_a_damaged_one_an_error(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path, "nothing") is None
    key = write_snapshot(tmp_path, snapshot(["a", "b"]))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for data in (b"", b"no parquet", whole[: len(whole) // 2], b"PAR1" + bytes(50) + b"PAR1"):
        file.write_bytes(data)
        with pytest.raises(StoreError, match=key):
            read_snapshot(tmp_path, key)


def test_a_choice_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "choice.npz"
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_choice(path, {"engine": "torch-f32", "batch": 32}, {"torch-f32": logits, "sample": np.array(["a", "b"])})
    stored = read_choice(path)
    assert stored is not None
    record, arrays = stored
    assert record == {"engine": "torch-f32", "batch": 32}
    np.testing.assert_array_equal(arrays["torch-f32"], logits)
    assert arrays["sample"].tolist() == ["a", "b"]


def test_a_choice_that_is_absent_or_damaged_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "choice.npz"
    assert read_choice(path) is None
    write_choice(path, {"batch": 32}, {"x": np.arange(1000)})
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for data in (b"", b"no archive", whole[:middle], whole[:-30], flipped, b"PK\x05\x06" + bytes(18)):
        path.write_bytes(data)
        assert read_choice(path) is None
    path.unlink()
    path.mkdir()
    assert read_choice(path) is None
