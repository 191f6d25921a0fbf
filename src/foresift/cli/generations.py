"""``foresift generations`` and ``foresift inherit``: models through the generations, and who chose their labels."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json, Seed, Split, given
from foresift.cli.output import emit_json, note, notes_about_pool, percent, say, table
from foresift.cli.progress import progress
from foresift.cli.train import class_names

if TYPE_CHECKING:
    from foresift.app.generations.descent import Member
    from foresift.core.lineage import Brought

SHORT = 12
COLUMNS = ("generation", "number", "alias", "architecture", "labels", "chosen by", "measured", "on", "target", "folder")
Name: Any = Annotated[str, typer.Argument(metavar="GENERATION", help="An id, a folder, or an alias.")]

app = typer.Typer(help="Generations of this workspace: list, lineage, promote.", no_args_is_help=True)


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """List every generation, the first of each line first."""
    from foresift.app.generations.descent import members
    from foresift.app.workspace import Workspace

    found = members(Workspace.open(home))
    if as_json:
        emit_json({"generations": [_plain(one) for one in found]})
        return
    if not found:
        note("no generation yet; foresift train DATA --model NAME --out DIR makes one")
        return
    table([_row(one) for one in found], COLUMNS)


@app.command()
def lineage(
    generation: Annotated[
        str | None,
        typer.Argument(metavar="GENERATION", help="An id, a folder, or an alias.", show_default="all of them"),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png|.svg", help="Draw them, too: who chose each label.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what generations come from, and who chose each of their labels."""
    from foresift.app.generations.descent import members
    from foresift.app.workspace import Workspace

    found = members(Workspace.open(home), generation)
    if picture is not None:
        from foresift.studies.lineage_picture import write_lineage

        write_lineage(found, picture)
    if as_json:
        emit_json({"generations": [_plain(one) for one in found], "edges": _edges(found)})
        return
    names = {one.descent.generation: _name(one) for one in found}
    for one in found:
        for line in _told(one, names):
            say(line)


@app.command()
def mirror(
    to: Annotated[
        str,
        typer.Option("--to", metavar="URL", envvar="MLFLOW_TRACKING_URI", help="Address of an MLflow server."),
    ],
    name: Annotated[str, typer.Option(help="Of the experiment and of the registered model.")] = "foresift",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Copy the generations to MLflow's tracking and model registry; repeated, what is new."""
    from foresift.app.generations.mirroring import mirror as run
    from foresift.app.workspace import Workspace

    made = run(Workspace.open(home), to, name=name)
    if as_json:
        emit_json({"generations": [asdict(one) for one in made]})
        return
    if not made:
        note("no generation to copy")
        return
    rows = [
        {
            "generation": one.generation[:SHORT],
            "version": one.version,
            "alias": ", ".join(one.aliases),
            "run": one.run,
            "new": "yes" if one.new else "no",
        }
        for one in made
    ]
    table(rows, ("generation", "version", "alias", "run", "new"))


@app.command()
def promote(
    generation: Name,
    on: Annotated[str, typer.Option("--on", metavar="DATA", help="Labeled images to compare on.")] = "",
    labels: Annotated[Path | None, typer.Option(help="Labels of these images, as a file.")] = None,
    split: Split = "",
    name: Annotated[str, typer.Option(help="What the record calls them.", show_default="where they lie")] = "",
    alias: Annotated[str, typer.Option("--as", metavar="deployed|candidate", help="Which alias it gets.")] = "deployed",
    force: Annotated[bool, typer.Option("--force", help="Whatever the comparison says; that is recorded.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Give a generation an alias; to be deployed it must beat the deployed one on the same images."""
    from foresift.app.generations.promoting import PromoteRequest
    from foresift.app.generations.promoting import promote as run
    from foresift.app.passes.stored import PassOptions
    from foresift.app.workspace import Workspace

    request = PromoteRequest(
        generation=generation, alias=alias, data=on, labels=labels, split=split, name=name, force=force
    )
    done = run(Workspace.open(home), request, options=PassOptions(engine="torch", progress=progress(quiet=as_json)))
    if as_json:
        plain = {key: value for key, value in asdict(done).items() if key != "generation"}
        emit_json({"generation": done.generation.generation, **plain})
        return
    short = done.generation.generation[:SHORT]
    if not done.changed:
        say(f"generation {short} is {done.alias} already")
        return
    after = f" in place of {done.before[:SHORT]}" if done.before else ""
    say(f"generation {short} is {done.alias}{after}{' (forced, and recorded so)' if done.forced else ''}")
    _say_evaluation(done.evaluation)


def inherit(
    ancestor: Annotated[
        str, typer.Argument(metavar="RUN|GENERATION", help="Whose labels: a generation, an alias, or a run.")
    ],
    model: Annotated[str, typer.Option(help="The new architecture (foresift models).")],
    out: Annotated[Path, typer.Option(help="New folder for the generation.")],
    data: Annotated[
        str, typer.Option(metavar="DATA", help="Where the images lie now.", show_default="where the ancestor learned")
    ] = "",
    val: Annotated[str | None, typer.Option(metavar="DATA", help="Labeled images to measure on.")] = None,
    target: Annotated[
        str, typer.Option(metavar="DEVICE", help="Device that it is meant for (foresift hardware).")
    ] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the labels.", show_default="20")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a training step.", show_default="64")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", show_default="by optimizer")] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="sgd|adamw", help="How weights are updated.", show_default="sgd")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the model's input.", show_default="by model and data")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class names, comma-separated, in order.", show_default="the ancestor's")
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="Start from timm's published weights.")] = False,
    seed: Seed = 0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train a new architecture on the labels that its ancestors' surrogates chose."""
    from foresift.app.generations.descent import checked_target
    from foresift.app.runs.inheriting import InheritRequest
    from foresift.app.runs.inheriting import inherit as run
    from foresift.app.training.request import TrainRequest
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    training = TrainRequest(
        model=model,
        out=out,
        val=val,
        image_size=image_size,
        classes=class_names(classes or ""),
        pretrained=pretrained,
        recipe=given({"epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer}),
        seed=seed,
        progress=progress(quiet=as_json),
    )
    request = InheritRequest(ancestor=ancestor, training=training, data=data, target=checked_target(workspace, target))
    found, trained = run(workspace, request)
    generation = trained.generation
    if as_json:
        emit_json(
            {
                "id": generation.id,
                **generation.to_dict(),
                "folder": str(out),
                "heir_of": found.ancestor.generation,
                "inherited": found.count,
                "notes": [*found.notes, *trained.notes],
            }
        )
        return
    notes_about_pool(trained.quarantined, (*found.notes, *trained.notes))
    say(f"generation {generation.id[:SHORT]} in {out}: {generation.architecture}")
    say(f"  {found.count:,} labels inherited from {found.ancestor.generation[:SHORT]} and its ancestors")
    if "val" in generation.metrics:
        say(f"  top-1 {percent(generation.metrics['val']['top1'])} on {generation.data['val']['pool']}")
    say(f"next: foresift generations promote {shlex.quote(str(out))} --on LABELED_IMAGES")


def _plain(one: Member) -> dict[str, Any]:
    record = one.descent.record
    return {
        "generation": one.descent.generation,
        "number": one.number,
        "aliases": list(one.aliases),
        "architecture": one.descent.architecture,
        "parent": one.descent.parent or None,
        "heir_of": one.descent.heir_of or None,
        "surrogates": list(one.descent.surrogates),
        "pool": record.get("data", {}),
        "labels": one.descent.labels,
        "brought": [asdict(part) for part in one.descent.brought],
        "receipts": [part.receipt for part in one.descent.brought if part.receipt],
        "recipe": record.get("recipe", {}),
        "seed": record.get("seed"),
        "metrics": one.metrics,
        "target": one.descent.target or None,
        "run": one.descent.run or None,
        "registered": one.descent.at or None,
        "folder": one.descent.folder,
        "there": one.there,
    }


def _edges(found: list[Member]) -> list[dict[str, Any]]:
    """From ancestor to heir: ``weights``, ``labels`` (inherited) or ``chose`` with the number of labels."""
    edges: list[dict[str, Any]] = []
    for one in found:
        heir = one.descent.generation
        if one.descent.parent:
            edges.append({"from": one.descent.parent, "to": heir, "kind": "weights"})
        if one.descent.heir_of:
            edges.append({"from": one.descent.heir_of, "to": heir, "kind": "labels"})
        edges += [
            {"from": chooser, "to": heir, "kind": "chose", "labels": part.labels, "receipt": part.receipt}
            for part in one.descent.brought
            for chooser in part.surrogates
        ]
    return edges


def _row(one: Member) -> dict[str, Any]:
    return {
        "generation": one.descent.generation[:SHORT],
        "number": one.number,
        "alias": ", ".join(one.aliases),
        "architecture": one.descent.architecture or "unknown",
        "labels": one.descent.labels,
        "chosen by": ", ".join(dict.fromkeys(_chooser(part) for part in one.descent.brought)),
        "measured": _quality(one),
        "on": _measured_on(one),
        "target": one.descent.target,
        "folder": one.descent.folder if one.there else "gone",
    }


def _quality(one: Member) -> str:
    return "" if one.quality is None else f"{one.quality.measure} {percent(one.quality.value)}"


def _measured_on(one: Member) -> str:
    """In a word or two."""
    if one.quality is None:
        return ""
    return PurePath(one.measured_on).name if one.metrics.get("val") else f"run {one.descent.run[:SHORT]}"


def _chooser(part: Brought) -> str:
    if not part.receipt:
        return "given"
    return part.surrogates[0][:SHORT] if part.surrogates else part.strategy.partition(":")[0]


def _name(one: Member) -> str:
    return f"{one.descent.architecture or 'an unknown model'} {one.descent.generation[:SHORT]}"


def _told(one: Member, names: dict[str, str]) -> list[str]:
    """A generation in a few lines."""
    alias = f" ({', '.join(one.aliases)})" if one.aliases else ""
    record, descent = one.descent.record, one.descent
    gone = "" if one.there else ", its folder is gone"
    lines = [f"generation {one.number}: {_name(one)}{alias}{gone}"]
    if descent.parent:
        lines.append(f"  began with the weights of {_of(descent.parent, names)}")
    if descent.heir_of:
        lines.append(f"  inherited labels from {_of(descent.heir_of, names)}")
    lines += [f"  {_brought(part, names, of='masks' if descent.has_masks else 'labels')}" for part in descent.brought]
    if record.get("data", {}).get("pool"):
        data = record["data"]
        lines.append(f"  pool {data['pool']} ({str(data.get('version', ''))[:SHORT]}), seed {record.get('seed')}")
    if one.quality is not None:
        lines.append(f"  {_quality(one)} on {one.measured_on}")
    if descent.target or descent.run:
        meant = [f"meant for {descent.target}"] if descent.target else []
        lines.append("  " + ", ".join([*meant, *([f"of run {descent.run}"] if descent.run else [])]))
    return lines


def _of(generation: str, names: dict[str, str]) -> str:
    return names.get(generation, generation[:SHORT])


def _brought(part: Brought, names: dict[str, str], *, of: str) -> str:
    if not part.receipt:
        return f"{part.labels:,} {of} that came without a receipt"
    by = " and ".join(_of(one, names) for one in part.surrogates)
    drawn = f", {part.control:,} of them drawn at random" if part.control else ""
    how = part.strategy.partition(":")[0]
    chosen = f"chosen by {by} ({how})" if by else f"chosen by {how} without a model"
    return f"{part.labels:,} {of} {chosen}{drawn}, receipt {part.receipt[:SHORT]}"


def _say_evaluation(told: dict[str, Any] | None) -> None:
    from foresift.app.generations.judging import NOT_COMPARED
    from foresift.app.pixels.judging import left_out_in_words

    if told is None:
        say(f"  {NOT_COMPARED}")
        return
    if "n" not in told:
        return
    quality = f"mIoU {percent(told['miou'])}" if "miou" in told else f"top-1 {percent(told['accuracy'])}"
    say(f"  {quality} on {told['name']} ({told['n']:,} images)")
    if words := left_out_in_words(told):
        say(f"  {words}")
    if "not_compared" in told:
        say(f"  not compared: {told['not_compared']}")
    if "difference" in told:
        test = "p" if "miou" in told else "McNemar p"
        say(
            f"  {told['difference']:+.1%} against {told['compared_with'][:SHORT]}, 95 % interval "
            f"{told['low']:+.1%} to {told['high']:+.1%}, {test} = {told['p']:.3g}"
        )


COMMANDS = (inherit,)
GROUPS = {"generations": app}
