"""The inside of a child process: tasks come as lines of JSON, answers and progress go out as such."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeAlias

from foresift.core.errors import ForesiftError
from foresift.core.protocols import Progress
from foresift.executors.arrays import packed, unpacked

Task: TypeAlias = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]
TELL_EVERY_S = 0.1


def serve(tasks: Mapping[str, Task]) -> None:
    """Do tasks until standard input closes; then end at once, whatever is being done."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not look like an answer
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        request = json.loads(requests.get(), object_hook=unpacked)
        reply = done(tasks[request["task"]], request["values"], _Told(answers))
        answers.write(json.dumps(reply, default=packed) + "\n")


def _listen(requests: queue.Queue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # nobody is left to answer to


def done(task: Task, values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What goes back: the answer of a task, or the error that it raised."""
    try:
        return {"answer": dict(task(values, progress))}
    except ForesiftError as error:
        return {"error": " ".join(str(error).split()), "kind": type(error).__name__}
    except (OSError, MemoryError) as error:
        return {"error": str(error) or "out of memory; close other programs", "kind": "StoreError"}


class _Told:
    """Progress as messages, not more than ten a second."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._units, self._told = out, 0, 0.0

    def start(self, task: str, total: int) -> None:
        self._units, self._told = 0, 0.0
        self._tell("start", task, total)

    def advance(self, units: int) -> None:
        self._units += units
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self._flush()

    def done(self, summary: str = "") -> None:
        self._flush()
        self._tell("done", summary)

    def _flush(self) -> None:
        if self._units:
            self._tell("advance", self._units)
        self._units, self._told = 0, time.monotonic()

    def _tell(self, *message: object) -> None:
        self._out.write(json.dumps({"progress": message}) + "\n")
