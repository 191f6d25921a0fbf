"""Killed processes, full disks, servers that go away: nothing stored is lost, nothing is half there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from foresift.core.errors import StoreError, UsageError
from foresift.core.labels import LabelRecord
from foresift.core.records import Records
from foresift.core.rounds import Run
from foresift.stores.records.database import Database, address_of, file_address
from foresift.stores.records.opening import FILE, open_records
from foresift.stores.records.sql import SqlRecords
from postgres import Postgres, installed_programs

pytestmark = pytest.mark.timeout(600)

BATCH, BATCHES = 400, 25
IMPORT = f"""
import sys
from pathlib import Path
from foresift.core.labels import LabelRecord
from foresift.stores.records.opening import open_records
records = open_records(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
for start in range(0, {BATCH * BATCHES}, {BATCH}):
    records.add_labels([LabelRecord(sample_id=n, value="a", pool="p", run="r") for n in range(start, start + {BATCH})])
"""
COUNT_UP = """
import sys
from dataclasses import replace
from pathlib import Path
from foresift.core.errors import StaleError
from foresift.core.rounds import Run
from foresift.stores.records.opening import open_records
records = open_records(Path(sys.argv[1]), sys.argv[2])
records.add_run(Run(id="r", pool="p", trial={"count": 0}))
done = 0
while done < 40:
    run = records.run("r")
    try:
        records.change_run(replace(run, trial={"count": run.trial["count"] + 1}))
        done += 1
    except StaleError:
        pass
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Of an empty database of each kind; "" = the file in the folder."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may end."""
    server = Postgres(installed_programs())
    server.start()
    yield server
    server.remove()


def start(program: str, home: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(home), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def label(sample: int, value: str = "a") -> LabelRecord:
    return LabelRecord(sample_id=sample, value=value, pool="p", run="r")


def test_an_import_killed_at_any_moment_leaves_whole_batches_and_goes_on(url: str, tmp_path: Path) -> None:
    rng, last = random.Random(3), 0
    for _ in range(5):
        process = start(IMPORT, tmp_path, url)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with closing(open_records(tmp_path, url)) as records:
            found = len(records.labels(run="r", current=False))
        assert found % BATCH == 0
        assert found >= last
        last = found
    finish(start(IMPORT, tmp_path, url))
    with closing(open_records(tmp_path, url)) as records:
        assert [x.sample_id for x in records.labels(run="r", current=False)] == list(range(BATCH * BATCHES))


def test_processes_that_change_one_run_never_overwrite_each_other(url: str, tmp_path: Path) -> None:
    processes = [start(COUNT_UP, tmp_path, url) for _ in range(3)]
    for process in processes:
        finish(process)
    with closing(open_records(tmp_path, url)) as records:
        run = records.run("r")
    assert run.trial == {"count": 120}
    assert run.version == 120


def test_processes_that_deliver_the_same_labels_at_once_store_them_once(url: str, tmp_path: Path) -> None:
    processes = [start(IMPORT, tmp_path, url) for _ in range(2)]
    for process in processes:
        finish(process)
    with closing(open_records(tmp_path, url)) as records:
        assert len(records.labels(run="r", current=False)) == BATCH * BATCHES


# Lance, where another test has loaded it, warns of any fork; the child here does not use it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forked_child_uses_connections_of_its_own(url: str, tmp_path: Path) -> None:
    with closing(open_records(tmp_path, url)) as records:
        records.add_run(Run(id="parent", pool="p"))
        child = os.fork()
        if not child:
            records.add_run(Run(id="child", pool="p"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        records.add_run(Run(id="parent again", pool="p"))
        assert {run.id for run in records.runs()} == {"parent", "child", "parent again"}


def test_a_full_disk_stores_whole_deliveries_only(small_disk: Path) -> None:
    records = open_records(small_disk)
    records.add_run(Run(id="r", pool="p"))
    filler, delivered = small_disk / "filler", 0
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - (300 << 10)))

    def deliver() -> None:
        nonlocal delivered
        while delivered < 50_000:
            records.add_labels([label(sample) for sample in range(delivered, delivered + 500)])
            delivered += 500

    with pytest.raises(StoreError, match=r"no space left on the disk of .*free some and run the same command again"):
        deliver()
    filler.unlink()
    assert len(records.labels(run="r")) == delivered
    assert records.add_labels([label(sample) for sample in range(delivered + 500)]) == (500, delivered)
    records.close()


def test_no_room_for_the_first_table(small_disk: Path) -> None:
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - (8 << 10)))
    with pytest.raises(StoreError, match="no space left"):
        open_records(small_disk)
    filler.unlink()
    open_records(small_disk).close()


@pytest.mark.parametrize("damage", [b"this is no database" * 500, b""])
def test_a_damaged_file_is_refused_and_an_empty_one_is_filled(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(damage)
    if damage:
        with pytest.raises(StoreError, match=r"is damaged .* foresift restore FILE"):
            open_records(tmp_path)
        assert (tmp_path / FILE).read_bytes() == damage
    else:
        open_records(tmp_path).close()


def test_a_writer_that_stays_too_long_is_named(tmp_path: Path) -> None:
    open_records(tmp_path).close()
    records = SqlRecords(Database(file_address(tmp_path / FILE), busy_s=0.1))
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert records.runs() == ()  # readers don't wait
        with pytest.raises(StoreError, match="another process has kept"):
            records.add_run(Run(id="r", pool="p"))
    records.close()


@pytest.mark.parametrize("given", ["mysql://u:secret@h/d", "nonsense", "sqlite:///x", "postgresql//u:secret@h", "://"])
def test_an_address_of_something_else_is_refused_without_its_password(given: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected postgresql://USER:PASSWORD@HOST/NAME") as caught:
        open_records(tmp_path, given)
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="/nowhere does not exist; create it"):
        open_records(tmp_path, postgres.address("nowhere"))


def test_a_user_who_is_not_known_is_named(postgres: Postgres, tmp_path: Path) -> None:
    address = postgres.address("postgres").replace("foresift@", "nobody:secret@")
    with pytest.raises(StoreError, match=r"nobody:\*\*\*@.* refuses the user or the password") as caught:
        open_records(tmp_path, address)
    assert "secret" not in str(caught.value)


def test_a_server_that_goes_away_is_reported_and_found_again(own_postgres: Postgres) -> None:
    records = opened(own_postgres.new_database(), away_s=0.2)
    records.add_run(Run(id="r", pool="p"))
    own_postgres.stop()
    for call in (lambda: records.run("r"), lambda: records.add_labels([label(1)])):
        with pytest.raises(StoreError, match=r"can't be reached .* start it and run the same command again"):
            call()
    own_postgres.start()
    assert records.run("r").id == "r"
    assert records.add_labels([label(1)]).new == 1
    records.close()


def test_a_server_that_comes_back_soon_is_waited_for(own_postgres: Postgres) -> None:
    records = opened(own_postgres.new_database(), away_s=60)
    own_postgres.stop(signal.SIGQUIT)
    back = threading.Timer(0.5, own_postgres.start)
    back.start()
    records.add_run(Run(id="r", pool="p"))
    assert [run.id for run in records.runs()] == ["r"]
    back.join()
    records.close()


def test_work_that_was_broken_off_is_done_again_as_a_whole(postgres: Postgres) -> None:
    address = postgres.new_database()
    records, attempts = opened(address, away_s=10), []

    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO pools (name) VALUES ('p')"))
        attempts.append(1)
        if len(attempts) == 1:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    records._database.write(work)
    assert len(attempts) == 2
    assert records._database.read(lambda c: c.execute(text("SELECT count(*) FROM pools")).scalar()) == 1
    records.close()


def test_a_transaction_that_was_broken_off_leaves_nothing(postgres: Postgres) -> None:
    records = opened(postgres.new_database(), away_s=10)

    def break_off() -> None:
        with records.transaction():
            records.add_run(Run(id="r", pool="p"))
            records._database.read(lambda c: c.execute(text("SELECT pg_terminate_backend(pg_backend_pid())")))

    with pytest.raises(StoreError, match="can't be reached"):
        break_off()
    assert records.runs() == ()
    records.close()


def opened(address: str, *, away_s: float) -> SqlRecords:
    open_records(Path.cwd(), address).close()
    return SqlRecords(Database(address_of(address), away_s=away_s))


def test_a_copy_of_the_folder_without_its_log_is_whole_after_closing(tmp_path: Path) -> None:
    records: Records = open_records(tmp_path / "one")
    records.add_run(Run(id="r", pool="p"))
    records.close()
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / FILE, tmp_path / "two" / FILE)
    with closing(open_records(tmp_path / "two")) as copy:
        assert copy.run("r").id == "r"
