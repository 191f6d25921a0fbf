"""What the engine of a run costs beside selecting, training and evaluating: ``python -m benchmarks.overhead``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.kills import Bench
from benchmarks.measure import Figure, at_most
from foresift.app.runs.lifecycle import carry_on, start_run
from foresift.app.workspace import Workspace
from foresift.executors import Child

LIMIT_S = 2.0
"""A round."""


def overhead(work: Path) -> list[Figure]:
    """Seconds a round that are not spent in the child process, which selects, trains and evaluates."""
    bench = Bench.at(work)
    workspace = Workspace.open(work / "home")
    run = start_run(workspace, bench.file)
    call, heavy = Child.call, []

    def timed(child: Child, task: str, values: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            return call(child, task, values, **options)
        finally:
            heavy.append(time.perf_counter() - began)

    began, busy = time.perf_counter(), time.process_time()
    with mock.patch.object(Child, "call", timed):
        carry_on(workspace, run.id)
    wall, busy = time.perf_counter() - began, time.process_time() - busy
    rounds = len(workspace.records().rounds(run.id))
    return [
        at_most(
            "run: engine beside selecting, training, evaluating, a round", (wall - sum(heavy)) / rounds, "s", LIMIT_S
        ),
        Figure("run: processor time of the engine, a round", busy / rounds, "s"),
        Figure("run: selecting, training, evaluating, a round", sum(heavy) / rounds, "s"),
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for figure in overhead(Path(place)):
            print(figure)
