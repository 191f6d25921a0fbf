"""Leases follow a clock that nobody sets: the wall clock may jump, the machine may start anew."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foresift.core.errors import StaleError
from foresift.core.records import Records
from foresift.stores.records.clocks import Now, machine_clock
from foresift.stores.records.database import Database, file_address
from foresift.stores.records.memory import MemoryRecords
from foresift.stores.records.opening import FILE, open_records
from foresift.stores.records.sql import SqlRecords

pytestmark = pytest.mark.timeout(600)


class Clock:
    def __init__(self) -> None:
        self.now = Now("first start", 1000.0)

    def __call__(self) -> Now:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now = self.now._replace(seconds=self.now.seconds + seconds)


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Clock], Records]:
    if request.param == "memory":
        return MemoryRecords
    open_records(tmp_path).close()
    return lambda clock: SqlRecords(Database(file_address(tmp_path / FILE)), clock)


def test_a_lease_lasts_exactly_as_long_as_it_was_given_for(make: Callable[[Clock], Records]) -> None:
    clock = Clock()
    records = make(clock)
    lease = records.acquire("k", "a", ttl_s=10)
    assert lease is not None
    clock.wait(9.99)
    assert records.acquire("k", "b", ttl_s=10) is None
    lease = records.renew(lease, ttl_s=10)
    clock.wait(9.99)
    assert records.holder("k") == "a"
    clock.wait(0.01)
    assert records.holder("k") is None
    assert records.renew(lease, ttl_s=1).token == lease.token  # nobody took it
    clock.wait(1)
    taken = records.acquire("k", "b", ttl_s=10)
    assert taken is not None
    assert taken.token > lease.token
    with pytest.raises(StaleError, match="k was taken over from a, whose lease ran out; stop working on it"):
        records.renew(lease, ttl_s=10)


@pytest.mark.parametrize("seconds", [0.0, 995.0, 1000.0, 1005.0])
def test_leases_of_before_the_machine_was_started_are_over(make: Callable[[Clock], Records], seconds: float) -> None:
    clock = Clock()
    records = make(clock)
    before = records.acquire("k", "a", ttl_s=10)
    assert before is not None
    clock.now = Now("second start", seconds)
    after = records.acquire("k", "b", ttl_s=10)
    assert after is not None
    assert after.token > before.token


def test_a_counter_that_began_anew_under_the_same_name_ends_leases_too(make: Callable[[Clock], Records]) -> None:
    clock = Clock()
    records = make(clock)
    records.acquire("k", "a", ttl_s=10)
    clock.now = Now("first start", 5.0)
    assert records.acquire("k", "b", ttl_s=10) is not None


def test_a_wall_clock_that_jumps_moves_no_lease(
    make: Callable[[Clock], Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = make(machine_clock)  # type: ignore[arg-type]
    records.acquire("k", "a", ttl_s=1000)
    for jump in (10**9, -(10**9)):
        real = time.time()
        monkeypatch.setattr(time, "time", lambda now=real + jump: now)
        assert records.acquire("k", "b", ttl_s=1000) is None
        assert records.holder("k") == "a"


def test_all_processes_of_a_machine_read_the_same_clock() -> None:
    code = "from foresift.stores.records.clocks import machine_clock; print(*machine_clock())"
    before = machine_clock()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name, seconds = done.stdout.split()
    assert name == before.clock
    assert before.seconds < float(seconds) < machine_clock().seconds
