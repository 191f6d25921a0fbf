"""What commands of ``foresift study`` share: where a study is written, and how its findings are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from foresift.cli.output import emit_json, say

PageFolder = Annotated[Path, typer.Option(help="Folder for the page, the picture and every finished cell.")]
WIDTH = 100


def tell_findings(found: Mapping[str, Any], verdicts: Sequence[str], files: Sequence[Path], *, as_json: bool) -> None:
    """One JSON object with all that was found; or the verdicts, how long it took and what was written.

    Args:
        found: the study's plain values, ``seconds`` among them.
    """
    if as_json:
        emit_json({**found, "verdicts": list(verdicts), "files": [str(file) for file in files]})
        return
    for sentence in verdicts:
        say(fill(sentence.replace("`", "").replace("*", ""), WIDTH))
    say(f"written in {found['seconds']:.0f} s:")
    for file in files:
        say(f"  {file}")
