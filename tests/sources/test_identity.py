import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from foresift.core.digests import digest_bytes
from foresift.core.samples import Pool
from foresift.sources import read
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.identity import identify, list_files
from images import png


class Watcher:
    """A progress that counts."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.units = 0

    def start(self, task: str, total: int) -> None:
        self.totals.append(total)

    def advance(self, units: int) -> None:
        self.units += units

    def done(self, summary: str = "") -> None:
        pass


def write(folder: Path, **contents: bytes) -> list[str]:
    for name, data in contents.items():
        (folder / f"{name}.png").write_bytes(data)
    return [str(folder / f"{name}.png") for name in contents]


def pool_of(uris: Sequence[str], *, need_digests: bool = True, memory: object = None, **columns: object) -> Pool:
    listing = list_files("test", uris, **columns)
    return identify(listing, memory or DictDigestMemory(), need_digests=need_digests)


def test_the_content_digest_is_the_id(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"one", b=b"two")
    pool = pool_of(uris)
    assert pool.ids.tolist() == sorted([digest_bytes(b"one"), digest_bytes(b"two")])
    assert {s.uris[0]: s.digest for s in pool} == {uris[0]: digest_bytes(b"one"), uris[1]: digest_bytes(b"two")}


def test_a_second_look_reads_nothing_and_says_the_same(tmp_path: Path) -> None:
    uris = write(tmp_path, **{f"f{i}": png(seed=i) for i in range(70)})
    memory, first, second = DictDigestMemory(), Watcher(), Watcher()
    pools = [
        identify(list_files("test", uris), memory, need_digests=True, progress=watcher) for watcher in (first, second)
    ]
    assert (first.totals, first.units, second.totals) == ([70], 70, [])
    assert pools[0].version == pools[1].version


def test_changed_bytes_are_read_again(tmp_path: Path) -> None:
    memory = DictDigestMemory()
    uris = write(tmp_path, a=b"one")
    pool_of(uris, memory=memory)
    (tmp_path / "a.png").write_bytes(b"two")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert pool_of(uris, memory=memory).ids.tolist() == [digest_bytes(b"two")]


def test_own_ids_need_no_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = write(tmp_path, a=b"one", b=b"one")
    monkeypatch.setattr(read.os, "open", lambda *_: pytest.fail("a file was opened"))
    pool = pool_of(uris, ids=[7, 3], labels=["cat", "dog"], need_digests=False)
    assert pool.ids.tolist() == [3, 7]
    assert pool.digests.tolist() == ["", ""]
    assert pool.conflicts == ()


def test_equal_bytes_are_one_sample_with_several_addresses(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"same", b=b"other", c=b"same", d=b"same")
    pool = pool_of([*reversed(uris), uris[0]], groups=["d", "c", "b", "a", "a"])
    assert len(pool) == 2
    [sample] = [s for s in pool if s.digest == digest_bytes(b"same")]
    assert sample.uris == (uris[0], uris[2], uris[3])
    assert sample.group == "a"
    assert pool.notes == ("3 duplicates merged",)


def test_a_label_on_any_of_the_equal_files_counts(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"same", b=b"same")
    pool = pool_of(uris, labels=["", "cat"])
    assert [sample.label for sample in pool] == ["cat"]
    assert pool.conflicts == ()


def test_equal_bytes_with_different_labels_are_a_conflict_and_unlabeled(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"same", b=b"same", c=b"same", d=b"other")
    pool = pool_of(uris, labels=["cat", "dog", None, "dog"])
    [conflict] = pool.conflicts
    assert (conflict.digest, conflict.uris, conflict.labels) == (digest_bytes(b"same"), tuple(uris[:2]), ("cat", "dog"))
    assert {s.digest: s.label for s in pool} == {digest_bytes(b"same"): None, digest_bytes(b"other"): "dog"}
    assert pool.classes == ("dog",)


def test_with_own_ids_a_conflict_is_reported_and_labels_stay(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"same", b=b"same")
    pool = pool_of(uris, ids=["x", "y"], labels=["cat", "dog"])
    assert [sample.label for sample in pool] == ["cat", "dog"]
    assert len(pool.conflicts) == 1


@pytest.mark.parametrize("ids", [None, list(range(20))])
def test_order_of_the_listing_does_not_matter(tmp_path: Path, ids: list[int] | None) -> None:
    uris = write(tmp_path, **{f"f{i:02d}": b"x" * (1 + i % 7) for i in range(20)})
    labels = [f"c{i % 3}" for i in range(20)]
    order = np.random.default_rng(0).permutation(20).tolist()
    plain = pool_of(uris, labels=labels, ids=ids)
    shuffled = pool_of([uris[i] for i in order], labels=[labels[i] for i in order], ids=None if ids is None else order)
    assert plain.version == shuffled.version
    assert list(plain) == list(shuffled)
    assert plain.conflicts == shuffled.conflicts


def test_files_without_usable_bytes_are_quarantined(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"one", b=b"")
    pool = pool_of([*uris, str(tmp_path / "gone.png")], labels=["cat", "dog", "dog"])
    assert [(q.uri, q.reason) for q in pool.quarantined] == [
        (uris[1], "zero bytes long"),
        (str(tmp_path / "gone.png"), "no such file"),
    ]
    assert [sample.label for sample in pool] == ["cat"]


def test_files_that_vanish_between_listing_and_reading(tmp_path: Path) -> None:
    uris = write(tmp_path, a=b"one", b=b"two", c=b"three")
    listing = list_files("test", uris, labels=["x", "y", "z"])
    (tmp_path / "b.png").unlink()
    pool = identify(listing, DictDigestMemory(), need_digests=True)
    assert {s.uris[0]: s.label for s in pool} == {uris[0]: "x", uris[2]: "z"}
    assert [(q.uri, q.reason) for q in pool.quarantined] == [(uris[1], "no such file")]


def test_an_empty_listing_is_an_empty_pool() -> None:
    assert len(pool_of([])) == 0
