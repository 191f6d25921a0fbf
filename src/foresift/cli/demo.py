"""``foresift demo``: the whole idea on the digits, in about a minute."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Json
from foresift.cli.output import emit_json, say, table
from foresift.cli.progress import progress

if TYPE_CHECKING:
    from foresift.studies.demo.study import Results

WIDTH = 100
NEXT = "foresift train YOUR_IMAGES --model resnet18-small --out generation-1"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("foresift-demo"),
    strategy: Annotated[str, typer.Option(help="NAME or NAME:key=value,... (foresift strategies).")] = "margin",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, from the random start on.")] = 3,
    rounds: Annotated[int, typer.Option(min=2, help="Batches of labels; the first is random.")] = 8,
    budget: Annotated[int, typer.Option(min=1, help="Labels a round.")] = 27,
    home: Annotated[Path | None, typer.Option(help="Workspace folder.", show_default="inside --out")] = None,
    as_json: Json = False,
) -> None:
    """Show the whole idea on handwritten digits: a small model chooses data for a larger one."""
    from foresift.studies.demo.page import write_all
    from foresift.studies.demo.study import Protocol, run

    started = time.perf_counter()
    protocol = Protocol(strategy=strategy, seeds=seeds, rounds=rounds, budget=budget)
    results = run(protocol, out, home=home, progress=progress(quiet=as_json))
    files = write_all(results, out, home=home)
    seconds = time.perf_counter() - started
    if as_json:
        emit_json({**_json(results), "files": [str(file) for file in files], "seconds": round(seconds, 1)})
        return
    _say(results)
    say(f"written in {seconds:.0f} s:")
    for file in files:
        say(f"  {file}")
    say(f"next: {NEXT}")


def _json(results: Results) -> dict[str, Any]:
    from foresift.studies.demo.page import table_rows, verdicts

    return {**asdict(results), "table": table_rows(results), "verdicts": verdicts(results)}


def _say(results: Results) -> None:
    from foresift.studies.demo.page import LEGEND, caution, summary, table_rows, verdicts

    rows = table_rows(results)
    say(fill(summary(results), WIDTH))
    say()
    table(rows, tuple(rows[0]))
    say(fill(LEGEND, WIDTH))
    say()
    for sentence in (*verdicts(results), caution(results)):
        say(fill(sentence, WIDTH))
    say()


COMMANDS = (demo,)
