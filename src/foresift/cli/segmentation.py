"""What ``train`` and ``evaluate`` do and print for segmentation models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foresift.cli.output import emit_json, note, notes_about_pool, percent, quarantine_json, say, table
from foresift.cli.progress import progress
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    from foresift.app.pixels.training_request import SegmentationRequest
    from foresift.app.workspace import Workspace


def train(workspace: Workspace, data: str, request: SegmentationRequest, *, as_json: bool) -> None:
    """Train, and say what came of it."""
    from foresift.app.pixels.train import train_segmentation

    trained = train_segmentation(workspace, data, request)
    generation = trained.generation
    if as_json:
        plain = {"id": generation.id, **generation.to_dict(), "folder": str(trained.folder)}
        plain["images_per_s"] = trained.images_per_s
        emit_json({**plain, "quarantined": quarantine_json(trained.quarantined), "notes": list(trained.notes)})
        return
    notes_about_pool(trained.quarantined, trained.notes)
    if trained.resumed_from:
        note(f"resumed after epoch {trained.resumed_from}")
    say(f"generation {generation.id[:12]} in {trained.folder}")
    size = generation.transform.size
    seen = f"{size[1]}x{size[0]} px" if size else f"images at {percent(generation.transform.scale)} of their size"
    say(f"  {generation.architecture}, {len(generation.classes)} classes, {seen}, {generation.recipe['start']}")
    rate = f", {trained.images_per_s:.1f} images/s" if trained.images_per_s else ""
    say(f"  trained on {generation.data['labeled']:,} images with masks, seed {generation.seed}{rate}")
    last = generation.metrics["last_epoch"]
    say("  last epoch: " + ", ".join(f"{name} {value:.4f}" for name, value in last.items()))
    if "val" in generation.metrics:
        _say_metrics(generation.metrics["val"], generation.classes)
    say(f"next: foresift evaluate {shlex.quote(data)} --model {shlex.quote(str(trained.folder))}")


def evaluate(workspace: Workspace, data: str, model: str, *, as_json: bool, **options: Any) -> None:
    """Measure, and print a table of the intersections over union."""
    from foresift.app.pixels.evaluating import evaluate_segmentation

    done = evaluate_segmentation(workspace, data, model, progress=progress(quiet=as_json), **options)
    if as_json:
        rest = {"quarantined": quarantine_json(done.quarantined), "notes": list(done.notes)}
        emit_json({**done.metrics, "classes": list(done.classes), **rest})
        return
    notes_about_pool(done.quarantined, done.notes)
    _say_metrics(done.metrics, done.classes)


def chosen_task(task: str, *, classification: Mapping[str, Any], segmentation: Mapping[str, Any]) -> str:
    """``task``, once no option was given that only the other task takes.

    Args:
        classification: options of classification alone and what was given for them.
        segmentation: likewise.
    Raises:
        UsageError: no such task, or an option of the other one.
    """
    foreign = {"classification": segmentation, "segmentation": classification}
    if task not in foreign:
        raise UsageError(f"--task {task}: expected classification or segmentation")
    if wrong := [name for name, value in foreign[task].items() if value]:
        raise UsageError(f"{wrong[0]} is no option for {task}; leave it out")
    return task


def _say_metrics(metrics: dict[str, Any], classes: tuple[str, ...]) -> None:
    miou, accuracy = percent(metrics["miou"]), percent(metrics["pixel_accuracy"])
    say(f"mIoU {miou}, pixel accuracy {accuracy} of {metrics['n']:,} images")
    say()
    table(_per_class(metrics, classes), ("class", "pixels", "IoU", "accuracy", "most often taken for"))


def _per_class(metrics: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for code, (name, counts) in enumerate(zip(classes, metrics["confusion"], strict=True)):
        wrong = [0 if at == code else count for at, count in enumerate(counts)]
        worst = max(range(len(wrong)), key=lambda at: wrong[at])
        share = percent(wrong[worst] / sum(counts)) if sum(counts) else ""
        rows.append(
            {
                "class": name,
                "pixels": f"{sum(counts):,}",
                "IoU": percent(metrics["iou"][code]),
                "accuracy": percent(metrics["class_accuracy"][code]),
                "most often taken for": f"{classes[worst]} ({share})" if wrong[worst] else "",
            }
        )
    return rows
