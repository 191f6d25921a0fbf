"""Tasks for workers of tests: as a module for actors, as a script for processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foresift.core.errors import LabelError
from foresift.core.protocols import Progress
from foresift.executors import serve


def square(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    time.sleep(values.get("for_s", 0))
    return {"value": values["value"] ** 2, "pid": os.getpid()}


def matrix(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    return {"twice": 2 * values["matrix"], "empty": np.zeros((0, 3), dtype=np.float32)}


def fail(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    raise LabelError("no label at all")


def die_once(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The first to see an item of an even number dies of it, in the middle."""
    seen = Path(values["folder"]) / str(values["value"])
    if values["value"] % 2 == 0 and not seen.exists():
        seen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": values["value"]}


def die(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def files(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    lent = values["files"]
    data = {name: (Path(lent) / name).read_bytes() for name in values["names"]} if isinstance(lent, str) else lent
    return {"sizes": {name: len(part) for name, part in data.items()}}


def granted(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    return {"threads": os.environ["OMP_NUM_THREADS"]}


TASKS = {task.__name__: task for task in (square, matrix, fail, die_once, die, files, granted)}

if __name__ == "__main__":
    serve(TASKS)
