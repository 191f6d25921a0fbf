"""``foresift search``: which part of a labeled set is worth training on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, note, percent, say, table
from foresift.cli.progress import progress

if TYPE_CHECKING:
    from foresift.app.search.results import Found


def search(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: data, scheme, sizes, members, score, model.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for subsets, results and members.", show_default="in the workspace")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Find a part of a labeled set that trains as well as all of it; run again, it goes on or reports."""
    from foresift.app.search.file import read_search
    from foresift.app.search.searching import search as run
    from foresift.app.workspace import Workspace

    found = run(Workspace.open(home), read_search(file), out=out, progress=progress(quiet=as_json))
    if as_json:
        emit_json(found.to_dict())
        return
    for remark in found.notes:
        note(f"note: {remark}")
    if found.resumed:
        note("this search was finished; nothing was trained")
    _say(found)


def _say(found: Found) -> None:
    score = found.score.partition(":")[0]
    say(f"{found.scheme} by {score}: {found.trainable:,} samples, measured on {found.held_out:,} held out")
    rows = [
        {
            "size": f"{stage.size:,}",
            "share": percent(stage.share),
            "accuracy": percent(stage.accuracy),
            "one model": percent(sum(stage.single) / len(stage.single)),
            "members": stage.members,
            "manifest": stage.manifest,
        }
        for stage in found.stages
    ]
    table(rows, tuple(rows[0]))
    for number, stage in enumerate(found.stages, start=1):
        if stage.approx:
            say(f"stage {number}: {stage.approx}")
    _say_transfer(found)
    last = shlex.quote(found.stages[-1].manifest)
    say(f"next: foresift train --subset {last} --model NAME --out DIR")


def _say_transfer(found: Found) -> None:
    """Mean and standard deviation over seeds, in percent and percentage points."""
    if not found.transfer:
        return
    rows = []
    for one in found.transfer:
        plain = one.to_dict()
        cells = {name: _points(plain[name]) for name in ("random", "found", "full", "gain", "gap")}
        rows.append({"model": one.model, **cells})
    say(f"the last subset on other architectures, one model alone ({len(found.transfer[0].found)} seeds):")
    table(rows, tuple(rows[0]))


def _points(spread: dict[str, Any]) -> str:
    reach = "" if spread["std"] is None else f" ± {100 * spread['std']:.1f}"
    return f"{100 * spread['mean']:.1f}{reach}"


COMMANDS = (search,)
