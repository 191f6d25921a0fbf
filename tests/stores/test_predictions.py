"""The predictions store: what is appended is there, whole, for everybody, whatever dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import storing
from foresift.core.errors import DamagedRowsError, StoreError
from foresift.core.protocols import StoredRows
from foresift.stores.predictions import LanceStore
from storing import PRODUCER, digests, rows

pytestmark = pytest.mark.timeout(600)
BOTH = ("logits", "embeddings")
OTHER = storing.Producer(model="another")


def script(
    root: Path, *what: object, limit_blocks: int | None = None, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """storing.py as a process, its files limited to so many blocks of 512 bytes."""
    command = [sys.executable, storing.__file__, str(root), *map(str, what)]
    if limit_blocks is not None:
        command = ["sh", "-c", f'ulimit -f {limit_blocks}; exec "$@"', "sh", *command]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(running: subprocess.Popen[str]) -> str:
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    return out


def assert_holds(store: LanceStore, count: int) -> None:
    """Rows 0 .. count - 1, whole."""
    assert store.known(PRODUCER).tolist() == digests(0, count).tolist()
    stored, expected = store.read(PRODUCER, digests(0, count), columns=BOTH), rows(0, count)
    for name in ("digests", "reasons", *BOTH):
        np.testing.assert_array_equal(getattr(stored, name), getattr(expected, name))


def test_what_was_appended_comes_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = LanceStore(tmp_path)
    for start in range(0, 100, 10):
        store.append(PRODUCER, rows(start, start + 10))
    assert_holds(store, 100)
    expected = rows(0, 100)
    assert expected.logits is not None
    for wanted in ([7], [99, 0, 7, 7, 41], np.random.default_rng(0).permutation(100)):
        order = np.array(wanted)
        got = store.read(PRODUCER, digests(0, 100)[order], columns=("logits",))
        np.testing.assert_array_equal(got.logits, expected.logits[order])
        assert got.digests.tolist() == digests(0, 100)[order].tolist()
        assert got.embeddings is None
    assert_holds(LanceStore(tmp_path), 100)


def test_producers_do_not_see_each_other(tmp_path: Path) -> None:
    store = LanceStore(tmp_path)
    store.append(PRODUCER, rows(0, 3))
    store.append(OTHER, rows(2, 9))
    assert_holds(store, 3)
    assert store.known(OTHER).tolist() == digests(2, 9).tolist()


def test_an_empty_store_knows_nothing_and_reads_nothing(tmp_path: Path) -> None:
    store = LanceStore(tmp_path / "not yet there")
    assert len(store.known(PRODUCER)) == 0
    assert len(store.read(PRODUCER, digests(0, 0), columns=BOTH).digests) == 0
    assert not (tmp_path / "not yet there").exists()


@pytest.mark.parametrize("wanted", [digests(5, 6), digests(2, 5), digests(0, 4)[::-1], np.array([""])])
def test_a_digest_that_is_not_stored_is_a_key_error(wanted: np.ndarray, tmp_path: Path) -> None:
    store = LanceStore(tmp_path)
    for _ in range(2):
        with pytest.raises(KeyError):
            store.read(PRODUCER, wanted, columns=BOTH)
        if not len(store.known(PRODUCER)):
            store.append(PRODUCER, rows(0, 3))


def test_of_two_rows_with_one_key_the_first_wins(tmp_path: Path) -> None:
    store = LanceStore(tmp_path)
    store.append(PRODUCER, rows(0, 5))
    again = rows(3, 8)
    assert again.logits is not None
    store.append(
        PRODUCER, StoredRows(**{**_fields(again), "logits": again.logits + np.where(np.arange(5) < 2, 9, 0)[:, None]})
    )
    assert_holds(store, 8)


def _fields(stored: StoredRows) -> dict[str, object]:
    return {name: getattr(stored, name) for name in ("digests", "reasons", *BOTH)}


def test_a_store_sees_what_others_append_meanwhile(tmp_path: Path) -> None:
    reader, writer = LanceStore(tmp_path), LanceStore(tmp_path)
    for end in (4, 8, 12):
        writer.append(PRODUCER, rows(end - 4, end))
        assert_holds(reader, end)


def test_bits_are_kept(tmp_path: Path) -> None:
    values = np.array([[0.0, -0.0, 1e-45, 3.4e38, np.pi]], dtype=np.float32)
    store = LanceStore(tmp_path)
    store.append(
        PRODUCER, StoredRows(digests=digests(0, 1), reasons=np.array(["ä\n漢"]), logits=values, embeddings=values)
    )
    got = store.read(PRODUCER, digests(0, 1), columns=BOTH)
    assert got.logits is not None
    assert got.logits.tobytes() == values.tobytes()
    assert got.reasons.tolist() == ["ä\n漢"]


# ---- several processes ---------------------------------------------------------------------


@pytest.mark.parametrize("attempt", range(2))
def test_processes_that_create_and_append_at_once_lose_nothing(attempt: int, tmp_path: Path) -> None:
    """All of them wait at one pipe, so that their first appends, which create the dataset, collide."""
    shared, start = os.pipe()
    several = [script(tmp_path / "store", "append-at-start", n * 6, 6, stdin=shared) for n in range(3)]
    os.close(shared)
    for running in several:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
    os.close(start)
    for running in several:
        finished(running)
    assert_holds(LanceStore(tmp_path / "store"), 18)


def test_kill_9_leaves_whole_appends(tmp_path: Path) -> None:
    """Killed where it stands while it appends five rows at a time."""
    for lines in (1, 2, 4):
        running = script(tmp_path, "append-for-ever", 5)
        assert running.stdout is not None
        for _ in range(lines):
            done = int(running.stdout.readline())
        running.kill()
        rest, _ = running.communicate()
        done = int((rest.split() or [str(done)])[-1])
        assert running.returncode == -signal.SIGKILL
        known = len(LanceStore(tmp_path).known(PRODUCER))
        assert known in (done, done + 5)  # the append may be done and not yet told
        assert_holds(LanceStore(tmp_path), known)


def test_a_first_append_that_was_killed_is_no_damage(tmp_path: Path) -> None:
    store = LanceStore(tmp_path)
    store.append(OTHER, rows(0, 1))
    folder = Path(LanceStore(tmp_path)._path(PRODUCER))
    shutil.copytree(LanceStore(tmp_path)._path(OTHER), folder)
    for manifest in (folder / "_versions").glob("*.manifest"):
        manifest.rename(f"{manifest}#1")  # how an unfinished version lies there
    assert len(store.known(PRODUCER)) == 0
    store.append(PRODUCER, rows(0, 3))
    assert_holds(store, 3)


# ---- damage and full disks -----------------------------------------------------------------


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-9])]
)
@pytest.mark.parametrize("kind", ["data/*.lance", "_versions/*.manifest"])
def test_torn_and_missing_files_are_one_clear_line(kind: str, harm: Callable[[Path], object], tmp_path: Path) -> None:
    LanceStore(tmp_path).append(PRODUCER, rows(0, 3))
    folder = Path(LanceStore(tmp_path)._path(PRODUCER))
    (victim,) = folder.glob(kind)
    harm(victim)
    store = LanceStore(tmp_path)
    if not victim.exists() and kind.startswith("_versions"):
        assert len(store.known(PRODUCER)) == 0  # nothing says that there ever was anything
        return
    with pytest.raises(StoreError, match="is damaged") as told:
        store.read(PRODUCER, store.known(PRODUCER), columns=BOTH)
    assert str(folder) in str(told.value)
    assert "delete it and run again" in str(told.value)
    assert "\n" not in str(told.value)
    shutil.rmtree(folder)
    store.append(PRODUCER, rows(0, 3))
    assert_holds(store, 3)


def flip_a_bit(store: LanceStore, value: float, *, bit: int) -> None:
    """One bit of the one place in the data files where a number lies."""
    (file,) = Path(store._path(PRODUCER)).glob("data/*.lance")
    data, word = bytearray(file.read_bytes()), np.float32(value).tobytes()
    assert data.count(word) == 1
    data[data.index(word) + bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


@pytest.mark.parametrize("bit", [0, 13, 31])
def test_a_flipped_bit_makes_its_row_missing(bit: int, tmp_path: Path) -> None:
    LanceStore(tmp_path).append(PRODUCER, rows(0, 20))
    embeddings = rows(0, 20).embeddings
    assert embeddings is not None
    flip_a_bit(LanceStore(tmp_path), embeddings[7, 2], bit=bit)
    store = LanceStore(tmp_path)
    store.read(PRODUCER, digests(0, 20), columns=("logits",))  # theirs are whole
    with pytest.raises(DamagedRowsError, match=r"1 stored predictions .* run the same command again"):
        store.read(PRODUCER, digests(5, 8), columns=("embeddings",))
    assert sorted(set(digests(0, 20)) - set(store.known(PRODUCER))) == [digests(7, 8)[0]]
    few = store.read(PRODUCER, digests(8, 11), columns=("embeddings",))
    np.testing.assert_array_equal(few.embeddings, embeddings[8:11])
    store.append(PRODUCER, rows(7, 8))
    assert_holds(store, 20)


def test_a_full_disk_is_a_clear_line_and_keeps_what_is_there(tmp_path: Path) -> None:
    """No file may grow beyond 16 KiB: small appends pass, a large one does not."""
    told = finished(script(tmp_path, "append-until-full", limit_blocks=32)).splitlines()
    assert told[0] == "small: stored"
    assert told[1].startswith(f"large: no space left on the disk of {tmp_path}")
    assert_holds(LanceStore(tmp_path), 3)


def test_a_real_full_disk(small_disk: Path) -> None:
    told = finished(script(small_disk, "append-until-full")).splitlines()
    assert told[0] == "small: stored"
    assert told[1].startswith(f"large: no space left on the disk of {small_disk}")
    assert_holds(LanceStore(small_disk), 3)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't write"):
        LanceStore(tmp_path / "file" / "store").append(PRODUCER, rows(0, 1))


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Producers whose index was read, in order."""
    read, read_index = [], LanceStore._read_index
    monkeypatch.setattr(LanceStore, "_read_index", lambda *given: read.append(given[1]) or read_index(*given))
    return read


def test_where_rows_lie_is_read_once_for_each_version(tmp_path: Path, indexed: list[object]) -> None:
    ours, theirs = LanceStore(tmp_path), LanceStore(tmp_path)
    theirs.append(PRODUCER, rows(0, 5))
    for _ in range(3):
        assert_holds(ours, 5)
    assert indexed == [PRODUCER]
    theirs.append(PRODUCER, rows(5, 9))
    assert_holds(ours, 9)
    assert indexed == [PRODUCER, PRODUCER]


def test_a_store_that_was_deleted_and_made_anew_is_another_one(tmp_path: Path) -> None:
    ours = LanceStore(tmp_path)
    ours.append(PRODUCER, rows(0, 5))
    assert len(ours.known(PRODUCER)) == 5
    shutil.rmtree(tmp_path)
    LanceStore(tmp_path).append(PRODUCER, rows(20, 23))
    assert ours.known(PRODUCER).tolist() == digests(20, 23).tolist()


def test_indices_of_many_producers_take_no_more_room_than_allowed(
    tmp_path: Path, indexed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LanceStore(tmp_path)
    for producer in (PRODUCER, OTHER):
        store.append(producer, rows(0, 5))
    size = store._index(PRODUCER).size_bytes
    monkeypatch.setattr("foresift.stores.datasets.INDEX_BYTES", 2 * size)
    for producer in (OTHER, PRODUCER, OTHER):
        assert len(store.known(producer)) == 5
    assert indexed == [PRODUCER, OTHER]
    monkeypatch.setattr("foresift.stores.datasets.INDEX_BYTES", size - 1)
    for producer in (PRODUCER, PRODUCER, OTHER):
        assert len(store.known(producer)) == 5
        assert len(store._indices) == 1, "the last one stays, whatever its size"
    assert indexed == [PRODUCER, OTHER, OTHER]
