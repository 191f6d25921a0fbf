"""Commands about models: adopt, evaluate, predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import (
    Batch,
    Checkpoints,
    Data,
    Engine,
    Home,
    Json,
    MaskLayout,
    Models,
    PoolArgument,
    Ray,
    Split,
    Strict,
)
from foresift.cli.output import emit_json, note, notes_about_pool, percent, quarantine_json, say, table
from foresift.cli.progress import progress
from foresift.cli.segmentation import chosen_task
from foresift.cli.segmentation import evaluate as evaluate_masks
from foresift.cli.train import class_names, train
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    pass

CLASSES_SHOWN = 20


def adopt(
    weights: Annotated[
        Path | None, typer.Argument(metavar="WEIGHTS", help="State dict: .safetensors, or .pt of plain tensors.")
    ] = None,
    model: Annotated[str, typer.Option(help="The architecture that it fits (foresift models).")] = ...,  # type: ignore[assignment]
    classes: Annotated[str, typer.Option(help="Class names, comma-separated, in the order of the logits.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option(help="New folder for the generation.")] = ...,  # type: ignore[assignment]
    image_size: Annotated[
        int | None,
        typer.Option(min=1, show_default="224, or as published", help="Side of the model's input in pixels."),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(metavar="squash|crop", show_default="squash, or as published", help="How images become square."),
    ] = None,
    crop_share: Annotated[
        float | None,
        typer.Option(show_default="0.875, or as published", help="Share of the side that --resize crop keeps."),
    ] = None,
    interpolation: Annotated[
        str | None,
        typer.Option(
            metavar="bilinear|bicubic", show_default="bilinear, or as published", help="How images are resized."
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", show_default="ImageNet's, or as published", help="Subtracted from values in 0 .. 1."
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", show_default="ImageNet's, or as published", help="Then divided by.")
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="Take timm's published weights and their transform.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Turn trained weights from elsewhere into a generation."""
    from foresift.app.models.adopting import UNTRAINED, adopt_weights, adopted_transform
    from foresift.app.workspace import Workspace

    changes = {
        "size": image_size,
        "resize": resize,
        "crop_share": crop_share,
        "interpolation": interpolation,
        "mean": _three("--mean", mean),
        "std": _three("--std", std),
    }
    asked = {name: value for name, value in changes.items() if value is not None}
    generation = adopt_weights(
        Workspace.open(home),
        weights,
        model=model,
        classes=class_names(classes),
        transform=adopted_transform(model, pretrained=pretrained, changes=asked),
        out=out,
        pretrained=pretrained,
    )
    if as_json:
        emit_json({"id": generation.id, **generation.to_dict(), "folder": str(out)})
        return
    if generation.recipe.items() >= UNTRAINED.items():
        note("the last layer is untrained: logits mean nothing until a head is trained (foresift train --train head)")
    say(f"generation {generation.id[:12]} in {out}: {generation.architecture}, {len(generation.classes)} classes")


def evaluate(
    data: Data,
    model: Models,
    checkpoints: Checkpoints = "",
    labels: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet with id or uri, and label.")] = None,
    engine: Engine = "torch",
    batch: Batch = None,
    split: Split = "",
    layout: MaskLayout = "auto",
    strict: Strict = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure a generation on labeled images."""
    from foresift.app.passes.stored import PassOptions
    from foresift.app.pixels.evaluating import is_segmentation_model
    from foresift.app.training.evaluating import evaluate as run
    from foresift.app.workspace import Workspace

    if is_segmentation_model(Workspace.open(home), model[0]):
        alone = {"--labels": labels, "--batch": batch, "--checkpoints": checkpoints, "a second --model": model[1:]}
        chosen_task("segmentation", classification=alone, segmentation={})
        evaluate_masks(Workspace.open(home), data, model[0], split=split, layout=layout, strict=strict, as_json=as_json)
        return
    chosen_task("classification", classification={}, segmentation={"--split": split})
    options = PassOptions(engine=engine, batch=batch, strict=strict, progress=progress(quiet=as_json))
    done = run(Workspace.open(home), data, model, checkpoints=checkpoints, labels=labels, options=options)
    if as_json:
        emit_json(
            {
                **done.metrics,
                "classes": list(done.classes),
                "quarantined": quarantine_json(done.result.quarantined),
                "inferred": done.result.report.inferred,
                "notes": list(done.notes),
            }
        )
        return
    notes_about_pool(done.result.quarantined, done.notes)
    m = done.metrics
    say(f"top-1 {percent(m['top1'])}, top-5 {percent(m['top5'])} of {m['n']:,} images")
    say(f"cross-entropy {m['cross_entropy']:.4f} nats, calibration error (ECE, 15 bins) {m['ece']:.4f}")
    say()
    table(_per_class(m, done.classes), ("class", "images", "accuracy", "most often taken for"))


def predict(
    pool: PoolArgument,
    model: Models,
    checkpoints: Checkpoints = "",
    out: Annotated[Path | None, typer.Option(help="Parquet file with id, uri, logits, embedding.")] = None,
    engine: Engine = "auto",
    batch: Batch = None,
    strict: Strict = False,
    ray: Ray = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Run a generation over a pool once and keep logits and embeddings."""
    from foresift.app.passes.crews import crew_on
    from foresift.app.passes.predicting import predict as run
    from foresift.app.passes.stored import PassOptions
    from foresift.app.workspace import Workspace

    told = progress(quiet=as_json)
    with crew_on(ray) as crew:
        options = PassOptions(engine=engine, batch=batch, strict=strict, progress=told, crew=crew)
        done = run(Workspace.open(home), pool, model, checkpoints=checkpoints, out=out, options=options)
    result = done.result
    if as_json:
        emit_json(
            {
                "predicted": len(result.predictions),
                "inferred": result.report.inferred,
                "shards": result.report.shards,
                "quarantined": quarantine_json(result.quarantined),
                "notes": list(done.notes),
                "engine": result.choice.engine,
                "batch": result.choice.batch,
                "engine_reason": result.choice.reason,
                "engine_rates": dict(result.choice.rates),
                "engine_checks": {name: check.to_dict() for name, check in result.choice.checks.items()},
                "out": None if out is None else str(out),
            }
        )
        return
    notes_about_pool(result.quarantined, done.notes)
    stored = len(result.predictions) - result.report.inferred
    say(f"{len(result.predictions):,} images predicted: {result.report.inferred:,} inferred, {stored:,} from the store")
    say(f"engine {result.choice.engine}, batch {result.choice.batch} ({result.choice.reason})")
    if out is not None:
        say(f"written to {out}")


def _three(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: expected three numbers, such as 0.5,0.5,0.5") from None
    return red, green, blue


def _per_class(metrics: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for code, (name, counts) in enumerate(zip(classes, metrics["confusion"], strict=True)):
        wrong = [0 if at == code else count for at, count in enumerate(counts)]
        worst = max(range(len(wrong)), key=lambda at: wrong[at])
        taken = f"{classes[worst]} ({wrong[worst]})" if wrong[worst] else ""
        accuracy = percent(metrics["per_class"][code])
        rows.append({"class": name, "images": sum(counts), "accuracy": accuracy, "most often taken for": taken})
    return rows


COMMANDS = (train, adopt, evaluate, predict)
