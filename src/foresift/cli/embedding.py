"""The command that makes embeddings: embed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from foresift.cli.options import Batch, Engine, Home, Json, PoolArgument, Ray, Seed, Strict
from foresift.cli.output import emit_json, note, notes_about_pool, quarantine_json, say
from foresift.cli.progress import progress


def embed(
    pool: PoolArgument,
    out: Annotated[Path, typer.Option(help="Parquet file with id, uri, embedding.")],
    train: Annotated[
        str | None, typer.Option("--train", metavar="simclr", help="Train a backbone on these images, without labels.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="A generation, or a timm architecture with published weights; with --train an architecture to train.",
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder for the backbone's generation.")] = None,
    preset: Annotated[
        str, typer.Option(metavar="small|paper", help="small: ResNet-8, 20 epochs; paper: ResNet-34, 200 epochs.")
    ] = "small",
    views: Annotated[
        str,
        typer.Option(metavar="colour|grey", help="What two views of an image may differ in; grey keeps the colours."),
    ] = "colour",
    size: Annotated[
        int | None, typer.Option(min=1, help="Pixels.", show_default="64, as published, or that of small images")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.", show_default="by preset")] = None,
    patience: Annotated[int, typer.Option(min=0, help="Stop after so many epochs without improvement; 0 = never.")] = 0,
    crops: Annotated[
        int, typer.Option(min=0, help="Random squares of each image to train on, for large images; 0 = whole images.")
    ] = 0,
    labels: Annotated[
        Path | None, typer.Option(help="CSV, JSONL or Parquet with labels: to watch the training, never to train.")
    ] = None,
    seed: Seed = 0,
    engine: Engine = "auto",
    batch: Batch = None,
    strict: Strict = False,
    ray: Ray = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Turn every image of a pool into an embedding; no labels needed."""
    from foresift.app.passes.crews import crew_on
    from foresift.app.passes.embed_request import EmbedRequest
    from foresift.app.passes.embedding import embed as run
    from foresift.app.passes.stored import PassOptions
    from foresift.app.workspace import Workspace

    told = progress(quiet=as_json)
    with crew_on(ray) as crew:
        request = EmbedRequest(
            out=out,
            model=model,
            train=train,
            save=save,
            labels=labels,
            preset=preset,
            views=views,
            size=size,
            epochs=epochs,
            patience=patience,
            crops=crops,
            seed=seed,
            options=PassOptions(engine=engine, batch=batch, strict=strict, progress=told, crew=crew),
        )
        done = run(Workspace.open(home), pool, request)
    if as_json:
        emit_json(_json(done, out))
        return
    notes_about_pool(done.quarantined, done.notes)
    _say(done, out, pool)


def _json(done: Any, out: Path) -> dict[str, Any]:
    backbone, report = done.backbone, done.result.report
    generation = backbone.model.generation
    return {
        "embedded": len(done.result.predictions),
        "inferred": report.inferred,
        "width": generation.embedding_width,
        "model": {"id": generation.id, **generation.to_dict(), "folder": str(backbone.model.folder)},
        "trained": backbone.trained,
        "epochs": backbone.epochs,
        "resumed_from": backbone.resumed_from,
        "figures": dict(backbone.figures),
        "engine": done.result.choice.engine,
        "batch": done.result.choice.batch,
        "quarantined": quarantine_json(done.quarantined),
        "notes": list(done.notes),
        "out": str(out),
    }


def _say(done: Any, out: Path, pool: str) -> None:
    backbone, report = done.backbone, done.result.report
    generation, count = backbone.model.generation, len(done.result.predictions)
    if backbone.resumed_from:
        note(f"resumed after epoch {backbone.resumed_from}")
    say(f"generation {generation.id[:12]} in {backbone.model.folder}: {generation.architecture}")
    if backbone.epochs:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in backbone.figures.items())
        say(f"  {backbone.epochs} epochs without labels at {generation.transform.size} px, the last: {figures}")
    say(f"{count:,} embeddings of width {generation.embedding_width}: {report.inferred:,} inferred")
    say(f"written to {out}")
    place = f"{shlex.quote(pool)} --model {shlex.quote(str(backbone.model.folder))}"
    unit = " --unit patch" if generation.data.get("crops") else ""
    say(f"next: foresift select {place}{unit} --strategy auto --budget N --out to_label.csv")


COMMANDS = (embed,)
