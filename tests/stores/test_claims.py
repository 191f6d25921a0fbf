"""Claims: one process a shard, and the dead hold nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foresift.core.errors import StoreError
from foresift.stores.claims import FileClaims

pytestmark = pytest.mark.timeout(30)
HOLDER = """
import sys
from pathlib import Path
from foresift.stores.claims import FileClaims

with FileClaims(Path(sys.argv[1]), 4) as claims:
    print(*(claims.claim(int(shard)) for shard in sys.argv[2:]), flush=True)
    for line in sys.stdin:
        claims.release(int(line), done=True)
        print("released", flush=True)
"""


def holder(path: Path, *shards: int) -> subprocess.Popen[str]:
    """A process that holds the shards until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(path), *map(str, shards)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert set(running.stdout.readline().split()) == {"True"}
    return running


def test_a_shard_belongs_to_one_process_and_the_others_are_free(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "claims"
    with holder(path, 1, 3) as other, FileClaims(path, 4) as claims:
        assert [claims.claim(shard) for shard in range(4)] == [True, False, True, False]
        assert not any(claims.is_done(shard) for shard in range(4))
        other.communicate()


def test_what_is_released_as_done_is_free_and_done_for_all(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    with holder(path, 2) as other, FileClaims(path, 4) as claims:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write("2\n")
        other.stdin.flush()
        assert other.stdout.readline() == "released\n"
        assert claims.is_done(2)
        assert claims.claim(2)
        other.communicate()
    with FileClaims(path, 4) as later:
        assert [later.is_done(shard) for shard in range(4)] == [False, False, True, False]


def test_released_but_not_done_is_not_done(tmp_path: Path) -> None:
    with FileClaims(tmp_path / "claims", 2) as claims:
        assert claims.claim(0)
        claims.release(0, done=False)
        assert not claims.is_done(0)


def test_the_death_of_a_holder_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    with holder(path, 0) as other, FileClaims(path, 1) as claims:
        waiting, taken = threading.Event(), threading.Event()

        def wait() -> None:
            waiting.set()
            claims.wait(0)
            taken.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
        assert not taken.wait(0.2)  # must not come
        other.kill()
        assert taken.wait(10)
        thread.join()
        assert not claims.is_done(0)


def test_the_end_of_the_block_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    with FileClaims(path, 1) as claims:
        assert claims.claim(0)
    holder(path, 0).communicate()


def test_a_place_that_cannot_be_written_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't use"), FileClaims(tmp_path / "file" / "claims", 1):
        pass
