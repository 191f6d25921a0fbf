"""The heavy part of a run's rounds, done in a child process: selecting, training, evaluating.

Every task may be killed and repeated; what it makes is named by what it is made from.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foresift.app.runs import mask_tasks
from foresift.app.workspace import Workspace
from foresift.core.protocols import Progress
from foresift.executors import Task, serve
from foresift.stores.files import locked

EVALUATED = ("n", "top1", "top5", "cross_entropy", "ece")
"""Metrics that a round keeps."""


def check(values: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
    """Refuse a model that is neither an architecture nor a generation."""
    from foresift.app.training.starting import check_model

    check_model(Workspace.open(values["home"]), values["model"])
    return {}


def select(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Ids to label next."""
    from foresift.app.passes.stored import PassOptions
    from foresift.app.pixels.request import Dense
    from foresift.app.pixels.selection import select_images
    from foresift.app.selecting.guarding import Limits
    from foresift.app.selecting.request import Request

    request = Request(
        strategy=values["strategy"],
        budget=values["budget"],
        labeled=None if values["labeled"] is None else Path(values["labeled"]),
        seed=values["seed"],
        allow_short=True,
        limits=Limits(**values["guards"]),
        options=PassOptions(engine=values["engine"], progress=progress),
    )
    model, workspace = _model(values, progress), Workspace.open(values["home"])
    chosen = select_images(workspace, values["pool"], request, Dense(**values["dense"]), model=model)
    receipt = chosen.selection.receipt
    said = {**receipt.pool.get("auto", {}), **receipt.details}  # of pixels the rule is asked before the strategy
    told = {name: str(said[name]) for name in ("ran", "why") if name in said}
    return {"ids": chosen.selection.sample_ids.tolist(), "receipt": receipt.id, "details": told}


def train(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """A generation trained on a labels file, in the folder that is named by everything it follows from."""
    from foresift.app.training.request import TrainRequest
    from foresift.app.training.train import train as run

    out = Path(values["out"])
    request = TrainRequest(
        model=values["model"],
        out=out,
        labels=Path(values["labels"]),
        classes=tuple(values["classes"]),
        image_size=values["image_size"],
        recipe=dict(values["recipe"]),
        seed=values["seed"],
        heritage=mask_tasks.heritage_of(values),
        progress=progress,
    )
    with locked(out.with_name(f".{out.name}.lock")):
        trained = run(Workspace.open(values["home"]), values["pool"], request)
    return {"generation": trained.generation.id, "notes": list(trained.notes)}


def evaluate(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """How good a generation is on the evaluation set."""
    from foresift.app.passes.stored import PassOptions
    from foresift.app.training.evaluating import evaluate as run

    options = PassOptions(engine="torch", progress=progress)
    metrics = run(Workspace.open(values["home"]), values["pool"], values["model"], options=options).metrics
    return {"metrics": {name: metrics[name] for name in EVALUATED if name in metrics}}


def _model(values: Mapping[str, Any], progress: Progress) -> str | None:
    """What the strategy looks through: the last generation, or a backbone that the pool's own images teach."""
    if values["backbone"] is None:
        return None if values["model"] is None else str(values["model"])
    from foresift.app.passes.embed_request import EmbedRequest
    from foresift.app.passes.embedding import embed
    from foresift.app.passes.stored import PassOptions

    out = Path(values["backbone"])
    request = EmbedRequest(
        out=out.with_suffix(".parquet"),
        train="simclr",
        save=out,
        seed=values["seed"],
        options=PassOptions(engine="torch", progress=progress),
    )
    with locked(out.with_name(f".{out.name}.lock")):
        embed(Workspace.open(values["home"]), values["pool"], request)
    return str(out)


TASKS: Mapping[str, Task] = {
    "check": check,
    "select": select,
    "train": train,
    "evaluate": evaluate,
    **mask_tasks.TASKS,
}


def command() -> list[str]:
    """The child process that does the tasks."""
    return [sys.executable, "-m", "foresift.app.runs.tasks"]


def main() -> None:
    """Serve until whoever started this is gone."""
    serve(TASKS)


if __name__ == "__main__":
    main()
