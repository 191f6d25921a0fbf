"""Commands that carry selections to labeling tools and back, and that draw them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foresift.cli.options import Home, Json, MaskLayout, Split
from foresift.cli.output import emit_json, note, notes_about_pool, quarantine_json, say
from foresift.cli.progress import progress

if TYPE_CHECKING:
    from foresift.app.pixels.returned_masks import Imported

SelectionFile = Annotated[Path, typer.Argument(metavar="SELECTION", help="A file that foresift select wrote.")]


def export(
    selection: SelectionFile,
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    kind: Annotated[str, typer.Option("--format", help="crops, coco or label-studio.")] = "coco",
    prefix: Annotated[
        str, typer.Option(help="Label Studio: put before image paths, such as '/data/local-files/?d='.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a selection as crops, COCO boxes or Label Studio tasks."""
    from foresift.app.pixels.exporting import Export
    from foresift.app.pixels.exporting import export as run

    files = run(Export(selection=selection, out=out, format=kind, prefix=prefix))
    if as_json:
        emit_json({"files": [str(file) for file in files]})
        return
    for file in files:
        say(str(file))
    if kind == "crops":
        masks = f"foresift import-masks {shlex.quote(str(selection))} MASKS --out DIR"
        note(f"next: draw one PNG of class numbers for each crop, under the crop's name, then: {masks}")


def import_masks(
    selection: SelectionFile,
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder of PNG masks, one a crop or one an image.")],
    out: Annotated[Path, typer.Option(help="Folder for images/ and masks/; may hold those of earlier rounds.")],
    ignored: Annotated[int, typer.Option("--ignore-index", help="Value of pixels that nobody labeled.")] = 255,
    classes: Annotated[
        str,
        typer.Option(
            help="Of a selection without a segmentation model: names, comma-separated, a file of them, or a number.",
            show_default="the model's",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Paint returned masks into masks of whole images; what nobody labeled is ignored."""
    from foresift.app.pixels.returned_masks import import_masks as run

    done = run(selection, masks, out, ignored=ignored, classes=classes)
    if as_json:
        emit_json(
            {"out": str(done.out), "images": done.images, "regions": done.regions, "missing": done.missing},
        )
        return
    say(f"{done.regions:,} of {done.regions + done.missing:,} picks have a mask, in {done.images:,} images of {out}")
    note(f"next: {_training(done, out, ignored)}")


def _training(done: Imported, out: Path, ignored: int) -> str:
    """The command that trains on what came back: with the classes and the size of the model that chose."""
    options = ["--task", "segmentation", "--model", done.model.get("architecture", "HEAD:ENCODER")]
    if size := done.model.get("image_size"):
        options += ["--image-size", size]
    if done.classes is None:
        options += ["--ignore-index", str(ignored), "--classes", "NAMES"]
    return shlex.join(["foresift", "train", str(out), *options, "--out", "DIR"])


def heatmap(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.")],
    model: Annotated[str, typer.Option(help="A segmentation generation, by folder or id.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    score: Annotated[str, typer.Option(help="entropy, least-confidence, margin or ratio.")] = "entropy",
    patch: Annotated[int, typer.Option(help="Side of the patches in pixels, a multiple of 16.")] = 64,
    top: Annotated[int, typer.Option(min=0, help="Frame so many of the most informative patches.")] = 4,
    selection: Annotated[Path | None, typer.Option(help="Frame what this selection names instead.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Draw where a model is unsure of an image, and which patches stand out."""
    from foresift.app.pixels.pictures import Heatmap, draw_heatmap
    from foresift.app.workspace import Workspace

    what = Heatmap(image=image, model=model, out=out, score=score, patch=patch, top=top, selection=selection)
    drawn = draw_heatmap(Workspace.open(home), what)
    framed = [{**region._asdict(), "mean": mean} for region, mean in drawn.framed]
    if as_json:
        emit_json(
            {"file": str(drawn.path), "score": score, "mean": drawn.mean, "max": drawn.largest, "patches": framed}
        )
        return
    say(f"{drawn.path}: {score} {drawn.mean:.4g} on average, at most {drawn.largest:.4g}")
    for one in framed:
        say(f"  {one['left']},{one['top']} {one['width']} x {one['height']}: {one['mean']:.4g}")


def sheet(
    selection: SelectionFile,
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    columns: Annotated[int, typer.Option(min=1, help="Images in a row.")] = 8,
    size: Annotated[int, typer.Option(min=16, help="Side of an image on the sheet, in pixels.")] = 160,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet of a selection."""
    from foresift.app.pixels.pictures import draw_sheet

    count = draw_sheet(selection, out, columns=columns, side=size)
    if as_json:
        emit_json({"file": str(out), "images": count})
        return
    say(f"{out}: {count:,} images")


def masks(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A root of images and masks, as for training.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    model: Annotated[
        str, typer.Option(help="A segmentation generation whose predictions to draw beside.", show_default=False)
    ] = "",
    split: Split = "",
    layout: MaskLayout = "auto",
    classes: Annotated[str, typer.Option(help="As for training.", show_default="the model's, the layout's")] = "",
    ignore_index: Annotated[
        str | None,
        typer.Option(metavar="N[,N]|none", show_default="by layout", help="Mask values that do not count."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, evenly spaced.")] = 8,
    columns: Annotated[int, typer.Option(min=1, help="Images in a row.")] = 2,
    size: Annotated[int, typer.Option(min=16, help="Side of an image on the sheet, in pixels.")] = 200,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Draw images under their masks, beside what a model predicts."""
    from foresift.app.pixels.mask_pictures import MaskSheet, draw_masks
    from foresift.app.pixels.training_request import mask_numbers
    from foresift.app.workspace import Workspace

    what = MaskSheet(
        root=data,
        out=out,
        model=model,
        split=split,
        layout=layout,
        classes=classes,
        ignore_index=mask_numbers(ignore_index),
        count=count,
        columns=columns,
        side=size,
        progress=progress(quiet=as_json),
    )
    drawn = draw_masks(Workspace.open(home), what)
    if as_json:
        images = [one._asdict() for one in drawn.images]
        emit_json(
            {
                "file": str(drawn.path),
                "classes": drawn.classes,
                "images": images,
                "quarantined": quarantine_json(drawn.quarantined),
                "notes": drawn.notes,
            }
        )
        return
    notes_about_pool(drawn.quarantined, drawn.notes)
    say(f"{drawn.path}: {len(drawn.images):,} images, {len(drawn.classes)} classes")


COMMANDS = (export, import_masks, heatmap, sheet, masks)
