"""A child process that does one task after another and can be killed at any moment.

Requests and replies are lines of JSON on its standard input and output, arrays of numbers included. It ends by itself
when its standard input closes, so that it never outlives whoever started it, kill -9 included.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from foresift.core import errors
from foresift.core.errors import ForesiftError, StoreError
from foresift.core.protocols import Progress, Silent
from foresift.executors.arrays import packed, unpacked

LOOK_EVERY_S = 0.2
"""A wait for the child looks at least so often whether it should stop."""
END_S = 5.0
"""How long a child that says no more has to end by itself, so that its exit code tells why."""
_LAST_WORDS = 20


class ChildDiedError(ForesiftError):
    """The child ended without an answer: killed, out of memory, crashed; the task may be tried again."""


class ChildFailedError(ChildDiedError):
    """It ended by an error that nobody foresaw; it would again."""

    said: tuple[str, ...] = ()
    """Its last lines."""


class StoppedError(ForesiftError):
    """Whoever waited for the task wants it no longer; the child was killed."""


class Child:
    """A process that is started when the first task comes, and again after it died. One task at a time.

    Args:
        command: a process that runs :func:`foresift.executors.serving.serve`.
        environment: its variables; None = those of this process.
        niceness: 0 to 19, how far it steps back for other processes, beyond what this one does.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, niceness: int = 0
    ) -> None:
        self._command = list(command)
        self._environment = None if environment is None else dict(environment)
        self._niceness = niceness
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._complaints: list[str] = []
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Child:
        """Nothing is started yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill it."""
        self.kill()

    @property
    def pid(self) -> int | None:
        """Of the running process; None while there is none."""
        return None if self._process is None else self._process.pid

    def call(
        self,
        task: str,
        values: Mapping[str, Any],
        *,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """What the child answers to a task.

        Raises:
            ForesiftError: of the kind that the task raised.
            StoppedError: ``should_stop`` said so; the child is dead.
            ChildDiedError: it ended without an answer.
            BaseException: what ``progress`` raised; the child is dead.
        """
        self._send(json.dumps({"task": task, "values": values}, default=packed))
        watched = progress or Silent()
        while True:
            if should_stop():  # also between lines that come without a pause
                self.kill()
                raise StoppedError(f"{task} was stopped")
            try:
                line = self._lines.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
            if line is None or not line.endswith("\n"):  # it may die in the middle of an answer
                raise self._death(task)
            message = json.loads(line, object_hook=unpacked)
            if "progress" in message:
                self._tell(watched, *message["progress"])
            elif "error" in message:
                raise raised(message["kind"], message["error"])
            else:
                answer: dict[str, Any] = message["answer"]
                return answer

    def kill(self) -> None:
        """End the process at once, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        self._bury(process)

    def _bury(self, process: subprocess.Popen[str]) -> int:
        """Kill it and whatever it started, hear it out and let go of it; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        code = process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def _send(self, line: str) -> None:
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None  # noqa: S101 - just started
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        with contextlib.suppress(BrokenPipeError):  # its death is found when the answer is awaited
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        self.kill()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for whoever started it
            )
        except OSError as error:
            raise StoreError(f"can't start a process for the work: {error.strerror or error}") from None
        step_back(self._process.pid, self._niceness)
        self._lines, self._complaints = queue.Queue(), []
        takers = ((self._process.stdout, self._lines.put), (self._process.stderr, self._complain))
        self._readers = [threading.Thread(target=_pump, args=each, daemon=True) for each in takers]
        for reader in self._readers:
            reader.start()

    def _complain(self, line: str | None) -> None:
        if line is not None:
            self._complaints = [*self._complaints[1 - _LAST_WORDS :], line.rstrip()]

    def _tell(self, progress: Progress, verb: str, *values: Any) -> None:
        try:
            getattr(progress, verb)(*values)
        except BaseException:
            self.kill()  # or what it says from now on would be taken for the answer to another task
            raise

    def _death(self, task: str) -> ChildDiedError:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it has closed its output and is about to end
                process.wait(END_S)
        code = 0 if process is None else self._bury(process)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = next((line for line in reversed(self._complaints) if line), "")
        why = " (out of memory?)" if code == -signal.SIGKILL else ""
        death = (ChildFailedError if code > 0 else ChildDiedError)(
            f"the process that did {task} {how}{why}" + (f": {said}" if said else "")
        )
        if isinstance(death, ChildFailedError):
            death.said = tuple(self._complaints)
        return death


def step_back(pid: int, niceness: int) -> None:
    """Let a child process, and all that it starts from now on, have the processors that others leave idle.

    Args:
        pid: of a process that leads its session, which Linux weighs as a whole before it looks at processes.
        niceness: 0 to 19, beyond that of this process.
    """
    whole = min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
    if not whole:
        return
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, pid, whole)
    with contextlib.suppress(OSError):  # other systems, and a Linux without it
        Path(f"/proc/{pid}/autogroup").write_text(str(whole))


def _pump(pipe: IO[str] | None, take: Callable[[str | None], None]) -> None:
    """Hand on every line, then None."""
    for line in pipe or ():
        take(line)
    take(None)


def raised(kind: str, text: str) -> ForesiftError:
    """An error of the same class, where it is one of ours, or of the nearest one above that takes a ready text."""
    found = getattr(errors, kind, ForesiftError)
    above = found.__mro__ if isinstance(found, type) and issubclass(found, ForesiftError) else (ForesiftError,)
    return next(one(text) for one in above if issubclass(one, ForesiftError) and "__init__" not in vars(one))
