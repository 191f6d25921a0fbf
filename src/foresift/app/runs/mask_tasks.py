"""The heavy part of a run's rounds where labels are masks, done in a child process: training and evaluating.

Every task may be killed and repeated; what it makes is named by what it is made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.lineage import Heritage
from foresift.core.protocols import Progress
from foresift.core.samples import Quarantined
from foresift.executors import Task
from foresift.stores.files import locked

EVALUATED = ("n", "miou", "pixel_accuracy", "iou")
"""Metrics that a round keeps."""


def check(values: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
    """Refuse a model that is neither a segmentation architecture nor a generation, and strategies it can't serve."""
    from foresift.app.pixels.fitting import check_segmenter
    from foresift.app.pixels.selection import check_strategy

    check_segmenter(Workspace.open(values["home"]), values["model"], recipe=values["recipe"])
    for strategy in values["strategies"]:
        check_strategy(strategy)
    return {}


def train(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """A generation trained on the masks of a labels file, in the folder that is named by what it follows from."""
    from foresift.app.pixels.fitting import fit_listing
    from foresift.app.pixels.training_request import SegmentationRequest
    from foresift.app.runs.mask_listings import labeled_with
    from foresift.app.runs.pool_files import mask_classes

    workspace, out = Workspace.open(values["home"]), Path(values["out"])
    classes = mask_classes(values["masks"])
    labels = Path(values["labels"])
    found = labeled_with(workspace, Path(values["pool"]), labels, classes, name=values["name"])
    request = SegmentationRequest(
        model=values["model"],
        out=out,
        image_size=values["image_size"] or "",
        labels=labels,
        recipe=dict(values["recipe"]),
        seed=values["seed"],
        heritage=heritage_of(values),
        progress=progress,
    )
    with locked(out.with_name(f".{out.name}.lock")):
        trained = fit_listing(
            workspace, found.listing, request, regions=found.regions, units=found.units, accept=_refuse_lost
        )
    return {
        "generation": trained.generation.id,
        "notes": list(trained.notes),
        "left_out": _told(trained.quarantined, "learned from"),
    }


def evaluate(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """How good a generation is on the evaluation set."""
    from foresift.app.pixels.evaluating import evaluate_listing
    from foresift.app.runs.mask_listings import measured_on
    from foresift.app.runs.pool_files import mask_classes

    listing = measured_on(Path(values["pool"]), mask_classes(values["masks"]))
    found = evaluate_listing(
        Workspace.open(values["home"]), listing, values["model"], accept=_refuse_lost, progress=progress
    )
    return {
        "metrics": {name: found.metrics[name] for name in EVALUATED},
        "left_out": _told(found.quarantined, "measured on"),
    }


def heritage_of(values: Mapping[str, Any]) -> Heritage:
    """What a run knows of a training beside its labels and recipe."""
    return Heritage(
        run=values["run"], target=values["target"], heir_of=values["heir_of"], receipts=tuple(values["receipts"])
    )


def _refuse_lost(broken: Sequence[Quarantined]) -> None:
    """Stop for images and masks that could be used when the run began: without them it would be another training.

    Raises:
        UsageError: there is one.
    """
    from foresift.app.pixels.images import NOTHING_LEFT

    for one in broken:
        if one.reason != NOTHING_LEFT:
            raise UsageError(f"{one.uri} could be used when the run began: {one.reason}; put it back and resume")


def _told(broken: Sequence[Quarantined], use: str) -> list[str]:
    """That images are left out, in a line."""
    return [f"{len(broken)} images are not {use}; the first, {one.uri}: {one.reason}" for one in broken[:1]]


TASKS: Mapping[str, Task] = {"check-masks": check, "train-masks": train, "evaluate-masks": evaluate}
"""Beside those of classes; selecting is the same for both."""
