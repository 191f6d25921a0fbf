"""``foresift study agent``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foresift.cli.options import Json, Ray
from foresift.cli.progress import progress
from foresift.cli.shared_study import on_cluster
from foresift.cli.study_output import PageFolder, tell_findings


def agent(
    out: PageFolder = Path("study-agent"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with cifar10 and caltech101.", show_default="$FORESIFT_DATA")
    ] = None,
    preset: Annotated[str, typer.Option(help="cpu or smoke.")] = "cpu",
    only: Annotated[list[str] | None, typer.Option(help="An image set of the preset; may be repeated.")] = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Choosing a strategy by trial: forecast error, strategy-rounds saved, regret against the best."""
    from foresift.studies.agents.report import verdicts, write
    from foresift.studies.agents.study import run

    shown = progress(quiet=as_json)
    on_cluster(ray, "agent", out, preset=preset, data=data, only=only or [], progress=shown)
    study = run(out, preset=preset, data=data, only=only or (), progress=shown)
    tell_findings(asdict(study), verdicts(study), write(study, out), as_json=as_json)
