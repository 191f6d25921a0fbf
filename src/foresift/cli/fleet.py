"""``foresift fleet``: a generation that chooses on devices what is worth uploading."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foresift.cli.options import Engine, Home, Json, PoolArgument, Seed, Strict
from foresift.cli.output import emit_json, note, notes_about_pool, percent, quarantine_json, say, table
from foresift.cli.progress import progress

app = typer.Typer(help="Let deployed models choose what devices upload.", no_args_is_help=True)
_Quota = typer.Option(min=1, help="Frames that a device may upload in a day.")


@app.command()
def export(
    model: Annotated[str, typer.Option("--model", help="A generation folder or id: the surrogate.")],
    calibrate: Annotated[
        str, typer.Option(metavar="POOL", help="Images like those that devices will see; no labels needed.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="New folder, to be copied to devices as a whole.")],
    score: Annotated[
        str, typer.Option("--score", "--strategy", help="margin, entropy, least-confidence or ratio.")
    ] = "margin",
    quota_per_day: Annotated[int, _Quota] = 100,
    frames_per_day: Annotated[
        float | None,
        typer.Option(
            min=1, help="Expected of a device; without it the first day waits for its end.", show_default=False
        ),
    ] = None,
    engine: Engine = "auto",
    strict: Strict = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a folder that a device runs with onnxruntime, NumPy and Pillow alone."""
    from foresift.app.fleet.exporting import FleetRequest, export_fleet
    from foresift.app.passes.stored import PassOptions
    from foresift.app.workspace import Workspace

    options = PassOptions(engine=engine, strict=strict, progress=progress(quiet=as_json))
    request = FleetRequest(
        model=model,
        calibrate=calibrate,
        out=out,
        score=score,
        quota_per_day=quota_per_day,
        frames_per_day=frames_per_day,
        options=options,
    )
    done = export_fleet(Workspace.open(home), request)
    fleet = done.fleet
    if as_json:
        record = {"id": fleet.id, **fleet.to_dict()}
        emit_json({"folder": str(done.folder), "fleet": record, "quarantined": quarantine_json(done.quarantined)})
        return
    notes_about_pool(done.quarantined, done.notes)
    say(f"{done.folder}: {fleet.architecture}, {fleet.score}, at most {fleet.quota_per_day:,} frames a device and day")
    parity = fleet.parity
    note(
        f"scores on {parity['images']} images differ from the server's by {parity['mean']:.2g} on average, "
        f"{parity['max']:.2g} at most (their spread is {parity['score_std']:.2g})"
    )
    note(f"next, on a device: pip install -r {out}/requirements.txt; python {out}/run.py FRAMES --spool DIR")


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Written by foresift fleet export.")],
    frames: Annotated[
        str, typer.Argument(metavar="FRAMES", help="A folder, a .csv or .jsonl file with a column uri, or -.")
    ],
    spool: Annotated[Path, typer.Option(metavar="DIR", help="Hits, candidates and the state of this device.")],
    quota_per_day: Annotated[
        int | None, typer.Option(min=1, help="In place of the exported one.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="Its name in receipts.", show_default="the host's")] = "",
    day: Annotated[
        str, typer.Option(metavar="clock|file|NAME", help="Day of a frame: now, its file's, or this one. UTC.")
    ] = "clock",
    upload: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Move hits there whenever the folder is there.", show_default=False),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Frames a call.", show_default="up to 64; 1 for -")] = None,
    keep_open: Annotated[bool, typer.Option("--keep-open", help="The day goes on after these frames.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Of one call.", show_default="one a core")] = 0,
    as_json: Json = False,
) -> None:
    """Score frames under an upload budget, as a device does."""
    from foresift.app.fleet.device import run_device
    from foresift.app.fleet.device_command import default_batch
    from foresift.app.fleet.device_run import DeviceRun

    job = DeviceRun(
        folder=folder,
        spool=spool,
        device=device,
        quota_per_day=quota_per_day,
        day=day,
        upload=upload,
        batch=batch or default_batch(frames),
        keep_open=keep_open,
        threads=threads,
    )
    report = run_device(job, frames)
    if as_json:
        emit_json(asdict(report))
        return
    for reason in report.reasons:
        note(f"broken, never sent: {reason}")
    for line in report.warnings():
        note(line)
    days = ", ".join(f"{name}: {count:,}" for name, count in sorted(report.days.items())[-7:])
    say(
        f"{report.frames:,} frames scored, {report.sent:,} sent, {report.held:,} held, {report.repeats:,} repeats, "
        f"{report.broken:,} broken; hits by day: {days or 'none'}"
    )


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A spool, or a folder that devices upload to.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Take uploaded hits into the workspace as a pool; each once, however often it is called."""
    from foresift.app.fleet.collecting import collect as take
    from foresift.app.workspace import Workspace

    done = take(Workspace.open(home), folder)
    refused = [{"receipt": receipt, "reason": reason} for receipt, reason in done.refused]
    if as_json:
        emit_json({**asdict(done), "refused": refused})
    else:
        for one in refused:
            note(f"refused: {one['receipt']}: {one['reason']}")
        say(f"{done.taken:,} taken in, {done.already:,} were there already, {len(refused):,} refused")
        for pool in done.pools:
            say(f"pool: {pool}")
    if refused:
        raise typer.Exit(1)


@app.command()
def simulate(
    pool: PoolArgument,
    model: Annotated[str, typer.Option("--model", help="A generation folder or id.")],
    score: Annotated[
        str, typer.Option("--score", "--strategy", help="margin, entropy, least-confidence or ratio.")
    ] = "margin",
    devices: Annotated[int, typer.Option(min=1, help="That share the pool's images.")] = 5,
    days: Annotated[int, typer.Option(min=1, help="Of uneven lengths.")] = 5,
    quota_per_day: Annotated[int, _Quota] = 100,
    seed: Seed = 0,
    engine: Engine = "auto",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Play a pool to a fleet in drifting order; compare with random uploads and hindsight at equal bandwidth."""
    from foresift.app.fleet.simulating import FleetTrial, simulate_fleet
    from foresift.app.passes.stored import PassOptions
    from foresift.app.workspace import Workspace

    trial = FleetTrial(
        pool=pool,
        model=model,
        score=score,
        devices=devices,
        days=days,
        quota_per_day=quota_per_day,
        seed=seed,
        options=PassOptions(engine=engine, progress=progress(quiet=as_json)),
    )
    done = simulate_fleet(Workspace.open(home), trial)
    if as_json:
        emit_json(asdict(done))
        return
    rows = [
        {
            "uploads": one.way,
            "frames": f"{one.uploaded:,}",
            f"mean {done.score}": f"{one.mean_score:.4f}",
            "of hindsight's": percent(one.of_hindsight),
            "wrong by the model": percent(one.wrong),
        }
        for one in done.ways
    ]
    table(rows, list(rows[0]))
    say(
        f"{done.devices} devices, {done.days} days of {done.shortest_day:,} to {done.longest_day:,} frames: at most "
        f"{percent(done.largest_deviation)} off the budget of {done.quota_per_day:,} a day, above it on "
        f"{done.over_budget} days; {percent(done.at_once)} sent at once; {percent(done.recovered)} of the gap between "
        "random and hindsight closed"
    )


GROUPS = {"fleet": app}
