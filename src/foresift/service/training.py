"""A training in a child process, which a cancel really ends, and what a generation is worth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from foresift.app.passes.stored import PassOptions
from foresift.app.training.evaluating import evaluate
from foresift.app.workspace import Workspace
from foresift.core.errors import ModelError, UsageError
from foresift.core.generations import Generation
from foresift.executors import step_back
from foresift.service.jobs import NICENESS, CancelledJobError, Work
from foresift.sources.fence import Fence
from foresift.stores.generations import is_generation, read_generation
from foresift.wire.messages import TrainRequest

LOOK_S = 0.2
OPTIONS = {"epochs": "--epochs", "train": "--train", "lr": "--lr", "batch_size": "--batch-size", "augment": "--augment"}
"""Fields of a recipe that a request may set, and how the command spells them."""


def train_in_child(
    workspace: Workspace, manifest: Path, labels: Path, asked: TrainRequest, out: Path, work: Work, fence: Fence
) -> Generation:
    """The generation in ``out``, trained by ``foresift train`` in a process of its own.

    Args:
        fence: also around that process.
    Raises:
        UsageError: a field of the recipe that can't be set here.
        ModelError: the training failed; its last line says why.
    """
    if is_generation(out):  # trained before, by a server that ended before it could say so
        return read_generation(out)
    arguments = [sys.executable, "-m", "foresift.cli", "train", str(manifest), "--labels", str(labels)]
    arguments += ["--model", asked.model, "--out", str(out), "--seed", str(asked.seed), "--home", str(workspace.home)]
    for field, value in asked.recipe.items():
        if field not in OPTIONS:
            raise UsageError(f"recipe.{field} can't be set here (known: {', '.join(sorted(OPTIONS))})")
        arguments += [OPTIONS[field], str(value)]
    work.start("training", 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    inherited, quiet, pipe = {**os.environ, **fence.environment}, subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own command
        arguments, stdout=quiet, stderr=pipe, text=True, env=inherited, start_new_session=True
    ) as child:
        step_back(child.pid, NICENESS)
        said = _watch(child, work)
    if child.returncode:
        raise ModelError(f"the training failed: {(said.strip().splitlines() or ['no message'])[-1]}")
    work.advance(1)
    return read_generation(out)


def _watch(child: subprocess.Popen[str], work: Work) -> str:
    """What the child said at its end; killed if the job is cancelled."""
    while True:
        try:
            return child.communicate(timeout=LOOK_S)[1]
        except subprocess.TimeoutExpired:
            if work.stop.is_set():
                child.kill()
                child.communicate()
                raise CancelledJobError("cancelled; the training was stopped") from None


def evaluated(workspace: Workspace, manifest: Path, model: Path, labels: Path, options: PassOptions) -> dict[str, Any]:
    """What a generation is worth on the labeled samples of a pool, without the confusion matrix.

    Raises:
        LabelError: labels that are no classes of the generation.
        ModelError: a generation without a head.
    """
    found = evaluate(workspace, manifest, model, labels=labels, options=options)
    metrics = {name: value for name, value in found.metrics.items() if name != "confusion"}
    per_class = dict(zip(found.classes, metrics.pop("per_class"), strict=True))
    return {"generation": read_generation(model).id, "metrics": {**metrics, "per_class": per_class}}
