"""``foresift train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json, MaskLayout, Seed, Split, Strict, given
from foresift.cli.output import emit_json, note, notes_about_pool, quarantine_json, say
from foresift.cli.progress import progress
from foresift.cli.segmentation import chosen_task
from foresift.cli.segmentation import train as train_masks
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    from foresift.core.generations import Generation

CLASSES_SHOWN = 20


def train(
    model: Annotated[
        str,
        typer.Option(
            help="An architecture (foresift models), a generation folder or id. "
            "A folder named like an architecture is reached as ./NAME."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the generation.")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of images, a manifest, or - for addresses on standard input.",
            show_default="those of --subset",
        ),
    ] = "",
    labels: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet with id or uri, and label.")] = None,
    val: Annotated[str | None, typer.Option(metavar="DATA", help="Labeled images to measure on.")] = None,
    train: Annotated[str, typer.Option("--train", metavar="all|head", help="The whole network, or its head.")] = "all",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Passes over the labeled images; not for --train head.", show_default="20; segmentation 30"
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|WxH|P%",
            show_default="by model and data",
            help="Side of the model's input in pixels; for segmentation both sides, or a share of the image's.",
        ),
    ] = None,
    seed: Seed = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images a training step.", show_default="64; segmentation 8")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", show_default="by optimizer")] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="sgd|adamw", help="How weights are updated.", show_default="sgd")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="cosine|onecycle|multistep|constant|poly",
            help="Of the learning rate; onecycle not for segmentation, poly only for it.",
            show_default="cosine; segmentation poly",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="none|shift|flip-crop|flip-crop-color|random-resized-crop",
            help="Random changes of images in training.",
            show_default="by image size",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="L2 penalty on the weights.", show_default="0.0005; segmentation 0.0001")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="auto|32|bf16", help="Of the arithmetic in training.", show_default="auto")
    ] = None,
    head: Annotated[str | None, typer.Option(metavar="linear|mlp:W", help="For --train head.")] = None,
    checkpoints: Annotated[bool, typer.Option(help="Keep the weights of every epoch.")] = False,
    keep_checkpoints: Annotated[
        int | None, typer.Option(min=1, help="Keep the weights of so many last epochs.", show_default="none")
    ] = None,
    subset: Annotated[
        Path | None, typer.Option(help="Train on the samples of this manifest alone (foresift search).")
    ] = None,
    loss_prediction: Annotated[
        bool, typer.Option("--loss-prediction", help="Train a module that predicts the loss too, for that strategy.")
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names, comma-separated, in order; for segmentation also a file of them, or a number."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="State dict to start from (.safetensors or .pt); for segmentation that of the encoder."),
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="Start from timm's published weights.")] = False,
    task: Annotated[
        str, typer.Option(metavar="classification|segmentation", help="What the labels are: classes, or masks of them.")
    ] = "classification",
    split: Split = "",
    val_split: Annotated[str, typer.Option(help="Split of the data to measure on; for segmentation.")] = "",
    layout: MaskLayout = "auto",
    ignore_index: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N]|none", show_default="by layout", help="Mask values that do not count; for segmentation."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="WxH", show_default="none", help="Random piece that a step sees; for segmentation."),
    ] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", show_default="flip", help="Mirror images; for segmentation.")
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(metavar="none|balanced", show_default="none", help="Weight rare classes up; for segmentation."),
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="DEVICE", help="Device that the model is meant for (foresift hardware).")
    ] = "",
    strict: Strict = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train a generation on labeled images."""
    from foresift.app.generations.descent import checked_target
    from foresift.app.training.request import TrainRequest
    from foresift.app.training.train import data_of
    from foresift.app.training.train import train as run
    from foresift.app.workspace import Workspace
    from foresift.core.lineage import Heritage

    if not data:
        if subset is None:
            raise UsageError("give the labeled images to train on: foresift train DATA --model NAME --out DIR")
        data = data_of(subset)
    common = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "optimizer": optimizer,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "precision": precision,
        "loss_prediction": loss_prediction or None,
    }
    masks_only = {
        "--split": split,
        "--val-split": val_split,
        "--ignore-index": ignore_index,
        "--crop": crop,
        "--flip": flip is not None,
        "--class-weights": class_weights,
    }
    classes_only = {
        "--val": val,
        "--train head": train != "all",
        "--augment": augment,
        "--head": head,
        "--checkpoints": checkpoints,
        "--keep-checkpoints": keep_checkpoints,
        "--subset": subset,
        "--pretrained": pretrained,
    }
    masks = chosen_task(task, classification=classes_only, segmentation=masks_only) == "segmentation"
    workspace = Workspace.open(home)
    heritage = Heritage(target=checked_target(workspace, target))
    if masks:
        from foresift.app.pixels.training_request import SegmentationRequest, mask_numbers, sides_of

        shapes = {"crop": sides_of("--crop", crop), "flip": flip, "class_weights": class_weights}
        asked = SegmentationRequest(
            model=model,
            out=out,
            split=split,
            val_split=val_split,
            layout=layout,
            image_size=image_size or "",
            classes=classes or "",
            ignore_index=mask_numbers(ignore_index),
            labels=labels,
            weights=weights,
            recipe=given({**common, **shapes}),
            seed=seed,
            heritage=heritage,
            progress=progress(quiet=as_json),
            strict=strict,
        )
        train_masks(workspace, data, asked, as_json=as_json)
        return
    recipe = {
        **common,
        "train": train,
        "augment": augment,
        "head": head,
        "checkpoint_every_epoch": checkpoints or None,
        "keep_checkpoints": keep_checkpoints,
    }
    request = TrainRequest(
        model=model,
        out=out,
        labels=labels,
        subset=subset,
        val=val,
        image_size=_side(image_size),
        classes=class_names(classes or ""),
        weights=weights,
        pretrained=pretrained,
        recipe=given(recipe),
        seed=seed,
        heritage=heritage,
        progress=progress(quiet=as_json),
        strict=strict,
    )
    trained = run(workspace, data, request)
    generation = trained.generation
    if as_json:
        plain = {"id": generation.id, **generation.to_dict(), "folder": str(trained.folder)}
        emit_json({**plain, "quarantined": quarantine_json(trained.quarantined), "notes": list(trained.notes)})
        return
    notes_about_pool(trained.quarantined, trained.notes)
    if trained.resumed_from:
        note(f"resumed after epoch {trained.resumed_from}")
    say(f"generation {generation.id[:12]} in {trained.folder}")
    say(f"  {generation.architecture}, {len(generation.classes)} classes, {generation.transform.size} px")
    say(f"  trained on {generation.data['labeled']:,} labeled images, seed {generation.seed}")
    say(f"  {_class_counts(generation)}")
    _say_metrics(generation.metrics)
    folder = shlex.quote(str(trained.folder))
    say(f"next: foresift select POOL --model {folder} --strategy margin --budget N --out to_label.csv")


def class_names(text: str) -> tuple[str, ...]:
    """The names in ``a, b,c``."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _side(text: str | None) -> int | None:
    """``--image-size`` of a classifier: one number, of at least 1."""
    if text is None:
        return None
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--image-size {text}: expected the side of a square in pixels, such as 224")
    return int(text)


def _class_counts(generation: Generation) -> str:
    """How many images each class had, so that a misspelt class shows."""
    counts = list(zip(generation.classes, generation.data["per_class"], strict=True))
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:CLASSES_SHOWN])
    return shown + (f", ... ({len(counts)} classes)" if len(counts) > CLASSES_SHOWN else "")


def _say_metrics(metrics: Any) -> None:
    for part, values in metrics.items():
        shown = {k: v for k, v in values.items() if isinstance(v, float)}
        say(f"  {part.replace('_', ' ')}: " + ", ".join(f"{name} {value:.4f}" for name, value in shown.items()))
