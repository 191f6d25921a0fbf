"""One worker at a time; a dead one's work is taken over."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foresift.app.runs.leases import Held, TakenError, is_dead, worker_name
from foresift.core.errors import StaleError
from foresift.stores.records.memory import MemoryRecords


def dead_worker() -> str:
    code = "from foresift.app.runs.leases import worker_name; print(worker_name())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_worker_is_dead_only_when_that_is_known() -> None:
    assert not is_dead(worker_name())
    assert is_dead(dead_worker())
    host, machine, pid, started = worker_name().split(":")
    assert is_dead(f"{host}:{machine}:{pid}:{int(started) + 1}"), "its number was given to another process"
    assert not is_dead(f"{host}:another:{pid}:1")
    assert not is_dead("somebody")


def test_a_lease_is_given_back_at_the_end() -> None:
    records = MemoryRecords()
    with Held(records, "run/1") as held:
        assert records.holder("run/1") == worker_name()
        assert not held.lost
    assert records.holder("run/1") is None


def test_the_living_keep_their_work_and_the_dead_do_not() -> None:
    records = MemoryRecords()
    records.acquire("run/1", "elsewhere:machine:12:34", ttl_s=60)
    with pytest.raises(TakenError, match="process 12 on elsewhere is working on it"):
        Held(records, "run/1").__enter__()
    records.acquire("run/2", dead_worker(), ttl_s=60)
    with Held(records, "run/2"):
        assert records.holder("run/2") == worker_name()


def test_a_lost_lease_is_noticed() -> None:
    class Lost(MemoryRecords):
        def renew(self, lease, *, ttl_s):
            raise StaleError("another worker has it")

    with Held(Lost(), "run/1", ttl_s=0.03) as held:
        held._thread.join(timeout=10)
        assert held.lost
