"""``foresift study surrogates``: does it matter who chose the labels?"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foresift.cli.options import Json, Ray
from foresift.cli.output import emit_json, note, say
from foresift.cli.progress import progress
from foresift.cli.shared_study import on_cluster
from foresift.cli.study_output import tell_findings


def surrogates(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yml]", help="Values that differ from the preset's.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="digits, cifar10, caltech101, camvid, paper-cityscapes, paper-ade20k or paper-imagenet.",
            show_default="digits",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pages, pictures and every finished cell.")] = Path(
        "study-surrogates"
    ),
    data: Annotated[
        Path | None, typer.Option(help="Folder with the image sets; digits need none.", show_default="$FORESIFT_DATA")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, a seed in each.", show_default="one a processor")
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Train a little, say how long it will take.")] = False,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Does it matter who chose the labels: every model chooses for every other, and against random."""
    from foresift.studies.surrogates.config import protocols
    from foresift.studies.surrogates.estimate import estimates
    from foresift.studies.surrogates.protocol import TEST
    from foresift.studies.surrogates.report import write
    from foresift.studies.surrogates.study import run
    from foresift.studies.surrogates.text import summaries, verdicts

    chosen, processes = protocols(preset, config), workers or os.cpu_count() or 1
    command = config.name if config else f"--preset {preset or 'digits'}"
    for protocol in chosen:
        for cut in protocol.cut:
            note(f"not as in the paper: {cut}")
        if protocol.judged_on != TEST:
            note(f"judged on {protocol.judges}, not on the test part")
    if estimate:
        found = estimates(out, chosen, data=data, workers=processes, progress=progress(quiet=as_json))
        if as_json:
            emit_json({"estimates": [asdict(one) for one in found]})
            return
        for one in found:
            say(one.sentence)
        return
    told = progress(quiet=as_json)
    on_cluster(ray, "surrogates", out, preset=preset, config=config, data=data, progress=told)
    study = run(out, chosen, name=command, data=data, workers=1 if ray else processes, progress=told)
    values = {"name": study.name, "seconds": study.seconds, "tables": summaries(study)}
    tell_findings(values, verdicts(study), write(study, out), as_json=as_json)
