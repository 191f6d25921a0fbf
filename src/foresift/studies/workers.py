"""What a worker of a crew does for a study: some of its cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from threadpoolctl import threadpool_limits

from foresift.core.protocols import Progress
from foresift.executors import Task
from foresift.studies.parts import Part

RunPart: TypeAlias = Callable[[Mapping[str, Any], Part], None]


def study(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:  # noqa: ARG001 - parts are what is counted
    """Make the cells of one part, by as many threads as where the study was started."""
    import torch

    torch.set_num_threads(values["threads"])
    threadpool_limits(values["threads"], user_api="blas")
    STUDIES[values["study"]](values, Part(values["number"], values["of"]))
    return {}


def _grid(module: str, values: Mapping[str, Any], part: Part) -> None:
    """A study whose function ``run`` takes a preset and some names."""
    folder, data = Path(values["folder"]), _path(values["data"])
    import_module(module).run(folder, preset=values["preset"], data=data, only=values["only"], part=part)


def _surrogates(values: Mapping[str, Any], part: Part) -> None:
    from foresift.studies.surrogates.config import protocols
    from foresift.studies.surrogates.study import run_part

    chosen = protocols(values["preset"], _path(values["config"]))
    run_part(Path(values["folder"]), chosen, data=_path(values["data"]), part=part)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


STUDIES: Mapping[str, RunPart] = {
    "strategies": partial(_grid, "foresift.studies.strategies.study"),
    "ensembles": partial(_grid, "foresift.studies.ensembles.study"),
    "agent": partial(_grid, "foresift.studies.agents.study"),
    "patches": partial(_grid, "foresift.studies.masks.patches"),
    "defects": partial(_grid, "foresift.studies.masks.defects"),
    "surrogates": _surrogates,
}
TASKS: Mapping[str, Task] = {"study": study}
MODULE = "foresift.studies.workers"
