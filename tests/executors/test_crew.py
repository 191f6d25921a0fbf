"""Workers share a job: every item is answered once, whoever dies, and nobody waits for ever."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from foresift.core.errors import LabelError, UnreachableError
from foresift.executors import ChildDiedError, Crew, LocalCrew, StoppedError
from foresift.executors.local import share_of
from foresift.executors.ray import knock

pytestmark = pytest.mark.timeout(60)
TASKS = [sys.executable, str(Path(__file__).with_name("crew_tasks.py"))]


@pytest.fixture
def crew() -> Iterator[LocalCrew]:
    with LocalCrew(TASKS, 2) as two:
        yield two


def test_every_item_is_answered_once_by_two_processes_that_stay(crew: LocalCrew) -> None:
    items = [{"value": value, "for_s": 0.02} for value in range(20)]
    answers = dict(crew.share("square", items))
    assert {number: one["value"] for number, one in answers.items()} == {n: n * n for n in range(20)}
    pids = {one["pid"] for one in answers.values()}
    assert len(pids) == 2
    assert {one["pid"] for _, one in crew.share("square", items)} == pids
    crew.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_no_items_are_no_work(crew: LocalCrew) -> None:
    assert list(crew.share("square", [])) == []


@pytest.mark.parametrize(
    ("granted", "workers", "share"), [("", 2, 4), ("3", 2, 3), ("16", 2, 4), ("", 3, 2), ("", 16, 1), ("2", 1, 2)]
)
def test_workers_share_the_processors_and_take_no_more_than_was_granted(
    granted: str, workers: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", granted)
    assert share_of(workers) == share
    with LocalCrew(TASKS, workers) as crew:
        (answer,) = crew.share("granted", [{}])
    assert answer.values == {"threads": str(share)}


def test_arrays_travel_both_ways_to_the_bit(crew: LocalCrew) -> None:
    matrix = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    (answer,) = crew.share("matrix", [{"matrix": matrix}])
    assert answer.values["twice"].tobytes() == (2 * matrix).tobytes()
    assert answer.values["twice"].dtype == np.float32
    assert answer.values["empty"].shape == (0, 3)


def test_an_item_whose_worker_was_killed_is_done_by_another(crew: LocalCrew, tmp_path: Path) -> None:
    items = [{"value": value, "folder": str(tmp_path)} for value in range(7)]
    answers = list(crew.share("die_once", items))
    assert sorted(one.values["value"] for one in answers) == list(range(7))
    assert sorted(one.number for one in answers) == list(range(7))


def test_an_item_that_kills_everybody_ends_the_job(crew: LocalCrew) -> None:
    with pytest.raises(ChildDiedError, match="3 workers were lost"):
        list(crew.share("die", [{}]))


def test_an_error_ends_the_job_in_kind_and_workers_go_on_with_the_next(crew: LocalCrew) -> None:
    with pytest.raises(LabelError, match="no label at all"):
        list(crew.share("fail", [{}] * 5))
    assert len(list(crew.share("square", [{"value": 1}] * 5))) == 5


def test_a_job_that_is_wanted_no_longer_ends_at_once(crew: LocalCrew) -> None:
    began = time.monotonic()
    with pytest.raises(StoppedError):
        list(crew.share("square", [{"value": 1, "for_s": 600}] * 3, should_stop=lambda: time.monotonic() - began > 2))
    assert time.monotonic() - began < 20


def test_whoever_leaves_in_the_middle_leaves_nothing_running(crew: LocalCrew) -> None:
    answers = crew.share("square", ({"value": 1, "for_s": 0.1} for _ in range(1000)))
    pid = next(answers).values["pid"]
    answers.close()
    crew.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_told_at_once(address: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(UnreachableError, match="no Ray cluster answers at"):
            knock(address.format(port=taken.getsockname()[1]))
    knock("local")
    knock("auto")


class Thread:
    """A worker without a process."""

    def __init__(self, comes: threading.Event | None = None) -> None:
        self.comes = comes

    def ready(self, timeout_s: float) -> bool:
        return self.comes is None or self.comes.wait(timeout_s)

    def call(self, task: str, values: Mapping[str, Any], *, should_stop: Callable[[], bool]) -> dict[str, Any]:
        return {"by": id(self)}

    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        """Nothing."""


class Growing(Crew):
    """Its first worker is there; others come when ``comes`` is set."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.there, self.comes, self.hired = room, threading.Event(), 0

    def room(self) -> int:
        return self.there

    def hire(self) -> Thread:
        self.hired += 1
        return Thread(None if self.hired == 1 else self.comes)


def test_items_never_wait_for_a_worker_that_does_not_come() -> None:
    assert len(list(Growing(3).share("any", [{}] * 10))) == 10


def test_a_crew_grows_while_it_works() -> None:
    crew, by = Growing(1), set()
    for number, answer in crew.share("any", ({} for _ in range(500))):
        by.add(answer["by"])
        if number == 20:
            crew.there = 2
            crew.comes.set()
        time.sleep(0.001)
    assert crew.hired == 2
    assert by


class Dying(Thread):
    """Dies while it starts, or while it rests."""

    def __init__(self, *, starts: bool) -> None:
        super().__init__()
        self.starts = starts

    def ready(self, timeout_s: float) -> bool:
        if not self.starts:
            raise ChildDiedError("lost in starting")
        return True

    def alive(self) -> bool:
        return False

    def call(self, task: str, values: Mapping[str, Any], *, should_stop: Callable[[], bool]) -> dict[str, Any]:
        raise ChildDiedError("lost")


class Unlucky(Growing):
    """Its first workers die while they start."""

    def __init__(self, dying: int) -> None:
        super().__init__(1)
        self.dying = dying
        self.comes.set()

    def hire(self) -> Thread:
        self.dying -= 1
        return Dying(starts=False) if self.dying >= 0 else super().hire()


def test_a_worker_that_dies_while_it_starts_is_replaced() -> None:
    assert len(list(Unlucky(2).share("any", [{}] * 5))) == 5
    with pytest.raises(ChildDiedError, match="3 workers were lost"):
        list(Unlucky(3).share("any", [{}] * 5))


def test_workers_that_died_while_they_rested_cost_an_item_nothing() -> None:
    crew = Growing(1)
    for _ in range(5):
        crew.rest(Dying(starts=True))
    assert len(list(crew.share("any", [{}] * 5))) == 5
