"""``foresift ensemble``: lists of members, what they said, and how they agree."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from foresift.cli.options import Batch, Checkpoints, Engine, Home, Json, Models, PoolArgument, Ray
from foresift.cli.output import emit_json, percent, say, table
from foresift.cli.progress import progress

SHOWN = 20
app = typer.Typer(help="Several models and kept checkpoints that speak together.", no_args_is_help=True)


@app.command()
def make(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the list, ensemble.json.")],
    model: Models,
    checkpoints: Checkpoints = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List members once; whatever takes several models takes the folder."""
    from foresift.app.passes.ensembles import make_ensemble
    from foresift.app.workspace import Workspace

    ensemble = make_ensemble(Workspace.open(home), model, out=out, checkpoints=checkpoints)
    if as_json:
        emit_json({**ensemble.to_dict(), "folder": str(out)})
        return
    say(f"{len(ensemble)} members of {len(ensemble.classes)} classes, {ensemble.transform.size} px, in {out}")
    say(f"next: foresift select POOL --model {shlex.quote(str(out))} --strategy mutual-information --budget N")


@app.command()
def state(
    pool: PoolArgument,
    model: Models,
    out: Annotated[Path, typer.Option(help="File (.npz) to begin or to extend.")],
    checkpoints: Checkpoints = "",
    engine: Engine = "auto",
    batch: Batch = None,
    ray: Ray = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Keep what members say of a pool, member by member; those in the file are not asked again."""
    from foresift.app.passes.crews import crew_on
    from foresift.app.passes.ensembles import open_members
    from foresift.app.passes.speaking import hear
    from foresift.app.passes.stored import PassOptions
    from foresift.app.pools import open_pool
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    models = open_members(workspace, model, checkpoints=checkpoints)
    told = progress(quiet=as_json)
    with crew_on(ray) as crew:
        options = PassOptions(engine=engine, batch=batch, progress=told, crew=crew)
        heard = hear(workspace, open_pool(workspace, pool, progress=told), models, out, options=options)
    members = len(heard.spoken.members)
    if as_json:
        samples = len(heard.spoken.sample_ids)
        emit_json({"members": members, "new": heard.new, "samples": samples, "out": str(out)})
        return
    say(f"{members} members of {len(heard.spoken.sample_ids):,} samples, {heard.new} of them new, in {out}")


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of foresift ensemble state.")],
    out: Annotated[Path, typer.Option(help="File (.npz) for all of them.")],
    as_json: Json = False,
) -> None:
    """Put together what members said on several machines."""
    from foresift.app.passes.speaking import merge_files

    whole = merge_files(files, out)
    if as_json:
        emit_json({"members": len(whole.members), "samples": len(whole.sample_ids), "out": str(out)})
        return
    say(f"{len(whole.members)} members of {len(whole.sample_ids):,} samples in {out}")


@app.command()
def analyse(
    pool: PoolArgument,
    model: Models,
    budget: Annotated[int, typer.Option(min=1, help="How many of the largest scores must stay.")],
    checkpoints: Checkpoints = "",
    early_stop: Annotated[str, typer.Option(metavar="RULE", help="Of foresift select, to be tried.")] = "stable",
    score: Annotated[str, typer.Option(help="A score of members.")] = "mutual-information",
    engine: Engine = "auto",
    batch: Batch = None,
    ray: Ray = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How often members agree, and how many of them it takes."""
    from foresift.app.passes.crews import crew_on
    from foresift.app.passes.early_stop import parse_rule
    from foresift.app.passes.ensembles import open_members
    from foresift.app.passes.speaking import analyse as run
    from foresift.app.passes.stored import PassOptions
    from foresift.app.pools import open_pool
    from foresift.app.workspace import Workspace

    workspace, rule = Workspace.open(home), parse_rule(early_stop)
    models = open_members(workspace, model, checkpoints=checkpoints)
    told = progress(quiet=as_json)
    with crew_on(ray) as crew:
        options = PassOptions(engine=engine, batch=batch, progress=told, crew=crew)
        opened = open_pool(workspace, pool, progress=told)
        found = run(workspace, opened, models, score=score, k=budget, options=options, rule=rule)
    if as_json:
        emit_json(found.to_dict())
        return
    rows = [
        {
            "last members": number + 1,
            "all agree": percent(count / found.samples),
            "with the one before": percent(found.pairs[number - 1] / found.samples) if number else "",
        }
        for number, count in enumerate(found.joint[:SHOWN])
    ]
    table(rows, tuple(rows[0]))
    stop = f"{found.enough} of {found.members} members" if found.settled else f"all {found.members} members or more"
    say(f"{stop} settle the {budget:,} largest of {score}: {percent(found.overlap)} of them are those of all members,")
    say(f"rank correlation of all scores {found.correlation:.3f}")


GROUPS = {"ensemble": app}
