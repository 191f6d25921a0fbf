"""Small runs for tests: few images, a tiny model, two epochs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from foresift.core.protocols import Progress, Silent

RECIPE = {"epochs": 2, "batch_size": 16, "optimizer": "adamw", "lr": 0.01, "precision": "32"}


def write_run(folder: Path, images: Path, /, **changed: Any) -> Path:
    """A run file for a folder of images; what is None is left out."""
    keys = {
        "pool": str(images),
        "oracle": "folders",
        "model": "mlp:8",
        "strategy": "margin",
        "rounds": 3,
        "budget": 10,
        "seed": 0,
        "recipe": RECIPE,
        **changed,
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
    return file


class InProcess:
    """Stands in for :class:`foresift.executors.Child`: the same tasks, done here.

    For tests that are about runs and not about processes: nothing has to load a library again. Values and answers
    pass through JSON as they do on their way to a child.
    """

    def __init__(self, command: list[str]) -> None:
        del command

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """There is nothing to kill."""

    def call(
        self,
        task: str,
        values: Mapping[str, Any],
        *,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        from foresift.app.runs.tasks import TASKS

        del should_stop
        answer = TASKS[task](json.loads(json.dumps(values)), progress or Silent())
        return dict(json.loads(json.dumps(answer)))
