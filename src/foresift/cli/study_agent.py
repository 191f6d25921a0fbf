"""``foresift study agent``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from foresift.cli.options import Json, Ray
from foresift.cli.output import emit_json, say
from foresift.cli.progress import progress
from foresift.cli.shared_study import on_cluster

WIDTH = 100


def agent(
    out: Annotated[Path, typer.Option(help="Folder for the page, the picture and every finished cell.")] = Path(
        "study-agent"
    ),
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
    files, told = write(study, out), verdicts(study)
    if as_json:
        emit_json({**asdict(study), "verdicts": told, "files": [str(file) for file in files]})
        return
    for sentence in told:
        say(fill(sentence.replace("`", ""), WIDTH))
    say(f"written in {study.seconds:.0f} s:")
    for file in files:
        say(f"  {file}")
