"""``foresift study``: comparisons that take minutes to hours, interrupted and continued at will."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foresift.cli.options import Json, Ray
from foresift.cli.progress import progress
from foresift.cli.shared_study import on_cluster
from foresift.cli.study_agent import agent
from foresift.cli.study_ensembles import ensembles
from foresift.cli.study_output import PageFolder, tell_findings
from foresift.cli.surrogates import surrogates

if TYPE_CHECKING:
    from foresift.studies.masks.report import Comparison

app = typer.Typer(help="Compare on real image sets; an interrupted study goes on where it was.", no_args_is_help=True)


@app.command()
def strategies(
    out: PageFolder = Path("study-strategies"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with cifar10 and caltech101.", show_default="$FORESIFT_DATA")
    ] = None,
    preset: Annotated[str, typer.Option(help="cpu, gpu or smoke.")] = "cpu",
    only: Annotated[list[str] | None, typer.Option(help="A strategy to compare; may be repeated.")] = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Every strategy against random, from the first label on."""
    from foresift.studies.strategies.report import verdicts, write
    from foresift.studies.strategies.study import run

    told = progress(quiet=as_json)
    on_cluster(ray, "strategies", out, preset=preset, data=data, only=only or [], progress=told)
    comparison = run(out, preset=preset, data=data, only=only or (), progress=told)
    tell_findings(asdict(comparison), verdicts(comparison), write(comparison, out), as_json=as_json)


@app.command()
def patches(
    out: PageFolder = Path("study-patches"),
    data: Annotated[Path | None, typer.Option(help="Folder with camvid.", show_default="$FORESIFT_DATA")] = None,
    preset: Annotated[str, typer.Option(help="cpu, paper or smoke.")] = "cpu",
    only: Annotated[list[str] | None, typer.Option(help="An arm, such as entropy-patches; may be repeated.")] = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Whole images against patches on CamVid, at equal labeled area."""
    from foresift.studies.masks.patches import run

    told = progress(quiet=as_json)
    on_cluster(ray, "patches", out, preset=preset, data=data, only=only or [], progress=told)
    _masks(run(out, preset=preset, data=data, only=only or (), progress=told), out, as_json=as_json)


@app.command()
def defects(
    out: PageFolder = Path("study-defects"),
    data: Annotated[Path | None, typer.Option(help="Folder with neu-seg.", show_default="$FORESIFT_DATA")] = None,
    preset: Annotated[str, typer.Option(help="cpu, scoring, paper or smoke.")] = "cpu",
    only: Annotated[list[str] | None, typer.Option(help="An arm, such as mean; may be repeated.")] = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Mean entropy against the most uncertain patches on NEU-Seg: small defects found, and mIoU."""
    from foresift.studies.masks.defects import run

    told = progress(quiet=as_json)
    on_cluster(ray, "defects", out, preset=preset, data=data, only=only or [], progress=told)
    _masks(run(out, preset=preset, data=data, only=only or (), progress=told), out, as_json=as_json)


def _masks(comparison: Comparison, out: Path, *, as_json: bool) -> None:
    """Write and say what came of a study of masks."""
    from foresift.studies.masks.report import verdicts, write

    tell_findings(asdict(comparison), verdicts(comparison), write(comparison, out), as_json=as_json)


app.command()(surrogates)
app.command()(ensembles)
app.command()(agent)

GROUPS = {"study": app}
