import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foresift.core.errors import StoreError
from foresift.core.protocols import DigestMemory
from foresift.sources import digest_memory
from foresift.sources.digest_memory import DictDigestMemory, SqliteDigestMemory


@pytest.fixture(params=["dict", "sqlite"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> DigestMemory:
    return DictDigestMemory() if request.param == "dict" else SqliteDigestMemory(tmp_path / "new" / "digests.sqlite")


def test_unknown_known_and_changed(memory: DigestMemory) -> None:
    assert memory.lookup(["/a"], [(1, 2)]) == [None]
    memory.remember(["/a", "/b\n ä'\""], [(1, 2), (3, -4)], ["da", "db"])
    uris = ["/b\n ä'\"", "/a", "/a", "/a", "/c"]
    stamps = [(3, -4), (1, 2), (9, 2), (1, 9), (1, 2)]
    assert memory.lookup(uris, stamps) == ["db", "da", None, None, None]


def test_the_last_word_counts(memory: DigestMemory) -> None:
    memory.remember(["/a"], [(1, 2)], ["old"])
    memory.remember(["/a"], [(1, 3)], ["new"])
    assert memory.lookup(["/a", "/a"], [(1, 2), (1, 3)]) == [None, "new"]


def test_what_is_forgotten_is_unknown(memory: DigestMemory) -> None:
    memory.remember(["/a", "/b"], [(1, 2), (3, 4)], ["da", "db"])
    memory.forget(["/a", "/never seen"])
    memory.forget([])
    assert memory.lookup(["/a", "/b"], [(1, 2), (3, 4)]) == [None, "db"]


def test_nothing_asked_nothing_said(memory: DigestMemory) -> None:
    memory.remember([], [], [])
    assert memory.lookup([], []) == []


def test_more_than_one_block(memory: DigestMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_memory, "_BLOCK", 7)
    uris = [f"/{i}" for i in range(100)]
    memory.remember(uris[::2], [(i, i) for i in range(0, 100, 2)], [f"d{i}" for i in range(0, 100, 2)])
    found = memory.lookup(uris, [(i, i) for i in range(100)])
    assert found == [None if i % 2 else f"d{i}" for i in range(100)]


def test_what_one_file_remembers_another_opener_knows(tmp_path: Path) -> None:
    SqliteDigestMemory(tmp_path / "d").remember(["/a"], [(1, 2)], ["da"])
    assert SqliteDigestMemory(tmp_path / "d").lookup(["/a"], [(1, 2)]) == ["da"]


def test_the_file_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    memory = SqliteDigestMemory(tmp_path / "d")
    memory.remember(["/a"], [(1, 2)], ["da"])
    for file in tmp_path.glob("d*"):
        file.unlink()
    assert memory.lookup(["/a"], [(1, 2)]) == [None]
    memory.remember(["/a"], [(1, 2)], ["da"])
    assert memory.lookup(["/a"], [(1, 2)]) == ["da"]


@pytest.mark.parametrize("damage", ["text", "torn"])
def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "d"
    memory = SqliteDigestMemory(file)
    memory.remember([f"/{i}" for i in range(2000)], [(i, i) for i in range(2000)], ["x" * 40] * 2000)
    if damage == "text":
        file.write_bytes(b"this is not a database, is it? " * 300)
    else:
        data = bytearray(file.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        file.write_bytes(data)
    assert memory.lookup(["/1"], [(1, 1)]) == [None]
    memory.remember(["/1"], [(1, 1)], ["d1"])
    assert memory.lookup(["/1"], [(1, 1)]) == ["d1"]
    assert list(tmp_path.glob("d.damaged-*"))


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(StoreError, match="unable to open"):
        SqliteDigestMemory(tmp_path / "d").lookup(["/a"], [(1, 2)])
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't create its folder"):
        SqliteDigestMemory(tmp_path / "file" / "d").lookup(["/a"], [(1, 2)])


@pytest.mark.parametrize("kib", [0, 20, 80])
def test_a_full_disk_is_said_and_nothing_is_to_be_deleted(small_disk: Path, kib: int) -> None:
    """With 20 KiB left SQLite itself speaks of an input or output error."""
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize - kib * 1024))
    uris = [f"/{'long/' * 20}{i}" for i in range(2000)]
    with pytest.raises(StoreError, match=r"no space left on the disk of .*; free some") as caught:
        SqliteDigestMemory(small_disk / "d").remember(uris, [(1, 2)] * 2000, ["x" * 40] * 2000)
    assert "delete" not in str(caught.value)


WRITER = """
import sys
from foresift.sources.digest_memory import SqliteDigestMemory
memory, name = SqliteDigestMemory(sys.argv[1]), sys.argv[2]
for i in range(30):
    memory.remember([f"/{name}/{i}", "/both"], [(i, i), (0, 0)], [f"{name}{i}", "same"])
    assert memory.lookup([f"/{name}/{i}", "/both"], [(i, i), (0, 0)]) == [f"{name}{i}", "same"]
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    file = tmp_path / "d"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), name], stderr=subprocess.PIPE, text=True)
        for name in ("p", "q")
    ]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    uris = [f"/{name}/{i}" for name in "pq" for i in range(30)]
    found = SqliteDigestMemory(file).lookup(uris, [(i, i) for _ in "pq" for i in range(30)])
    assert found == [f"{name}{i}" for name in "pq" for i in range(30)]


def test_many_threads_begin_the_same_file(tmp_path: Path) -> None:
    memory = SqliteDigestMemory(tmp_path / "d")
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            memory.remember([f"/{i}"], [(i, i)], [f"d{i}"])
        except Exception as error:  # noqa: BLE001 - it is looked at below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert memory.lookup([f"/{i}" for i in range(12)], [(i, i) for i in range(12)]) == [f"d{i}" for i in range(12)]
