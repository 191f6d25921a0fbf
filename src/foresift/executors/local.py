"""Workers that are processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from foresift.executors.child import Child
from foresift.executors.crew import Crew, Worker

THREADS = "OMP_NUM_THREADS"
"""What engines heed."""


class LocalCrew(Crew):
    """A fixed number of child processes, each with its share of the processors.

    Args:
        command: a process that runs :func:`foresift.executors.serving.serve`.
        workers: 1 or more.
        environment: variables beside those of this process.
    """

    def __init__(self, command: Sequence[str], workers: int, *, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._command, self._workers = list(command), workers
        self._environment = {**os.environ, THREADS: str(share_of(workers)), **(environment or {})}

    def room(self) -> int:
        """Always the same."""
        return self._workers

    def hire(self) -> Worker:
        """A process that is started with its first task."""
        return _LocalWorker(Child(self._command, environment=self._environment))


def share_of(workers: int) -> int:
    """Threads for each of several workers: its part of the processors, and no more than this process has itself."""
    part, granted = max(1, (os.cpu_count() or 1) // workers), os.environ.get(THREADS, "")
    return min(part, max(1, int(granted))) if granted.isdecimal() else part


class _LocalWorker:
    def __init__(self, child: Child) -> None:
        self._child = child

    def ready(self, timeout_s: float) -> bool:  # noqa: ARG002 - a pipe can be written to at once
        return True

    def call(self, task: str, values: Mapping[str, Any], *, should_stop: Callable[[], bool]) -> dict[str, Any]:
        return self._child.call(task, values, should_stop=should_stop)

    def alive(self) -> bool:
        return True  # a child that died is started again with its next task

    def kill(self) -> None:
        self._child.kill()
