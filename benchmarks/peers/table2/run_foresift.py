"""Foresift: ``select`` on a pool of files that it has never seen, in an empty workspace; everything is stored."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from task import CLASSES, Task, answer

from foresift.app.models.served_model import served_model
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.pool_selection import Request, select_from_pool
from foresift.app.workspace import Workspace
from foresift.engines import REFERENCE


def choose(task: Task) -> Callable[[], np.ndarray]:
    """Hashing, inferring, storing, ranking, the receipt: all that ``foresift select`` does."""
    work = Path(tempfile.mkdtemp(prefix="home-", dir=task.folder))
    pool = work / "pool.jsonl"
    pool.write_text("".join(json.dumps({"uri": file}) + "\n" for file in task.files))
    workspace = Workspace.open(work / "home")
    names = tuple(map(str, range(CLASSES)))
    model = served_model(workspace, "resnet18", "random", base=work, image_size=task.side, classes=names)
    options = PassOptions(engine=REFERENCE, batch=task.batch or None)

    def call() -> np.ndarray:
        request = Request(strategy="least-confidence", budget=task.budget, options=options)
        rows = select_from_pool(workspace, pool, request, model=model).selection.rows()
        return np.array([row_of[chosen["uri"]] for chosen in rows])

    row_of = {file: row for row, file in enumerate(task.files)}
    return call


answer("foresift", choose)
