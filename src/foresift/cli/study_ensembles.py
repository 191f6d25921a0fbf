"""``foresift study ensembles``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foresift.cli.options import Json, Ray
from foresift.cli.progress import progress
from foresift.cli.shared_study import on_cluster
from foresift.cli.study_output import PageFolder, tell_findings


def ensembles(
    out: PageFolder = Path("study-ensembles"),
    data: Annotated[Path | None, typer.Option(help="Folder with cifar10.", show_default="$FORESIFT_DATA")] = None,
    preset: Annotated[str, typer.Option(help="cpu, paper or smoke.")] = "cpu",
    only: Annotated[list[str] | None, typer.Option(help="An image set of the preset; may be repeated.")] = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Ensembles of checkpoints search for a training set: schemes, scores, members, transfer."""
    from foresift.studies.ensembles.report import verdicts, write
    from foresift.studies.ensembles.study import run

    told = progress(quiet=as_json)
    on_cluster(ray, "ensembles", out, preset=preset, data=data, only=only or [], progress=told)
    comparison = run(out, preset=preset, data=data, only=only or (), progress=told)
    sentences = [verdict.sentence() for verdict in verdicts(comparison)]
    tell_findings(asdict(comparison), sentences, write(comparison, out), as_json=as_json)
