"""A child process answers, tells how far it is, can be killed, and never outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from foresift.core.errors import LabelError, StoreError, UsageError
from foresift.executors import Child, ChildDiedError, ChildFailedError, StoppedError

TASKS = """
import os, signal, sys, time
from foresift.core.errors import LabelError, UnknownNameError
from foresift.executors import serve

def double(values, progress):
    progress.start("doubling", 2)
    for _ in range(2):
        progress.advance(1)
    progress.done("done")
    print("a library talks")
    return {"value": 2 * values["value"], "pid": os.getpid()}

def fail(values, progress):
    raise LabelError("no label\\nat all")

def unknown(values, progress):
    raise UnknownNameError("thing", "x", ["y"])

def full(values, progress):
    raise OSError(28, "No space left on device")

def hang(values, progress):
    time.sleep(600)

def chatter(values, progress):
    began = time.monotonic()
    while time.monotonic() - began < 10:
        progress.start("talking", 1)
        time.sleep(0.02)
    return {}

def crash(values, progress):
    raise ValueError("nobody thought of this")

def priority(values, progress):
    return {"nice": os.nice(0)}

def die(values, progress):
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

serve({f.__name__: f for f in (double, fail, unknown, full, hang, chatter, crash, priority, die)})
"""
COMMAND = [sys.executable, "-c", TASKS]


@pytest.fixture
def child() -> Iterator[Child]:
    with Child(COMMAND) as one:
        yield one


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def start(self, task: str, total: int) -> None:
        self.told.append(("start", task, total))

    def advance(self, units: int) -> None:
        self.told.append(("advance", units))

    def done(self, summary: str = "") -> None:
        self.told.append(("done", summary))


def test_it_answers_one_task_after_another_in_the_same_process(child: Child) -> None:
    first, second = (child.call("double", {"value": value}) for value in (1, 21))
    assert (first["value"], second["value"]) == (2, 42)
    assert first["pid"] == second["pid"] == child.pid


def test_progress_reaches_the_parent(child: Child) -> None:
    heard = Heard()
    child.call("double", {"value": 1}, progress=heard)
    assert heard.told[0] == ("start", "doubling", 2)
    assert sum(units for verb, units in heard.told[1:-1] if verb == "advance") == 2
    assert heard.told[-1] == ("done", "done")


def test_errors_come_back_in_kind_and_on_one_line(child: Child) -> None:
    with pytest.raises(LabelError, match=r"^no label at all$"):
        child.call("fail", {})
    with pytest.raises(UsageError, match=r"^unknown thing 'x'"):  # the nearest kind that takes a ready text
        child.call("unknown", {})
    with pytest.raises(StoreError, match="No space left"):
        child.call("full", {})
    assert child.call("double", {"value": 1})["value"] == 2


def test_a_task_that_is_wanted_no_longer_is_killed(child: Child) -> None:
    child.call("double", {"value": 1})
    pid = child.pid
    assert pid is not None
    with pytest.raises(StoppedError):
        child.call("hang", {}, should_stop=lambda: True)
    assert not psutil.pid_exists(pid)
    assert child.call("double", {"value": 1})["value"] == 2


def test_a_task_that_tells_how_far_it_is_without_a_pause_is_killed_too(child: Child) -> None:
    began = time.monotonic()
    with pytest.raises(StoppedError):
        child.call("chatter", {}, should_stop=lambda: time.monotonic() - began > 1)
    assert child.pid is None


def test_what_its_listener_raises_ends_it_and_the_next_answer_is_to_the_next_task(child: Child) -> None:
    class Tired(Heard):
        def start(self, task: str, total: int) -> None:
            raise ZeroDivisionError(task)

    with pytest.raises(ZeroDivisionError):
        child.call("double", {"value": 1}, progress=Tired())
    assert child.call("double", {"value": 21})["value"] == 42


def test_an_error_that_nobody_foresaw_is_told_apart_from_a_death(child: Child) -> None:
    with pytest.raises(ChildFailedError, match="exit code 1: ValueError: nobody thought of this") as raised:
        child.call("crash", {})
    assert any("in crash" in line for line in raised.value.said)
    with pytest.raises(ChildDiedError) as died:
        child.call("die", {})
    assert not isinstance(died.value, ChildFailedError)


def test_it_steps_back_as_far_as_asked_beyond_its_parent(child: Child) -> None:
    own = psutil.Process().nice()
    assert child.call("priority", {})["nice"] == own
    with Child(COMMAND, niceness=7) as polite:
        assert polite.call("priority", {})["nice"] == min(19, own + 7)
        weight = Path(f"/proc/{polite.pid}/autogroup")
        if weight.is_file():
            assert weight.read_text().split()[-1] == str(min(19, own + 7))


def test_a_death_is_told_with_its_cause_and_another_process_takes_over(child: Child) -> None:
    with pytest.raises(ChildDiedError, match=r"did die was killed by SIGKILL.*"):
        child.call("die", {})
    assert child.call("double", {"value": 1})["value"] == 2


def test_it_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent = f"""
import sys
from foresift.executors import Child
child = Child([sys.executable, "-c", {TASKS!r}])
print(child.call("double", {{"value": 1}})["pid"], flush=True)
child.call("hang", {{}})
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        orphan = psutil.Process(int(running.stdout.readline()))
        running.kill()
    orphan.wait(timeout=30)


def test_a_command_that_cannot_be_started_is_told() -> None:
    with Child(["/nowhere/python"]) as child, pytest.raises(StoreError, match="can't start a process"):
        child.call("double", {})
