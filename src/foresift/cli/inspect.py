"""Commands that look: registries, and the health of the installation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, note, say, screen_width, table

if TYPE_CHECKING:
    from foresift.app.doctor import Finding

REGISTRY_COLUMNS = ("name", "needs", "parameters", "aliases", "summary", "cite")
NARROW_COLUMNS = ("name", "parameters", "summary")
"""On screens of less than ``WIDE`` characters; ``--json`` has all."""
WIDE = 180


def strategies(as_json: Json = False) -> None:
    """List every selection strategy."""
    from foresift.selection.registry import describe

    _show("strategies", [row._asdict() for row in describe()], as_json)


def scores(as_json: Json = False) -> None:
    """List every acquisition function."""
    from foresift.scores.registry import describe

    _show("scores", [row._asdict() for row in describe()], as_json)


def models(
    pattern: Annotated[
        str | None, typer.Argument(help="Also list timm's architectures that match, such as 'resnet*'.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List architectures: our own, and timm's by pattern."""
    from foresift.app.models.architectures import architectures, timm_architectures

    rows = [asdict(row) for row in architectures()]
    others = timm_architectures(pattern) if pattern else []
    if as_json:
        emit_json({"models": rows, "timm": others})
        return
    table(rows, [name for name in ("name", "aliases", "family", "parameters", "cite") if rows and name in rows[0]])
    for name in others:
        say(f"timm:{name}")
    if pattern is None:
        say("and every classifier of timm, by its name there: foresift models 'resnet*'")


def doctor(
    home: Home = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="CONFIG", help="Examine the deployment of this server, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine the installation and the workspace; with --config a server's file, folders, tokens, TLS and ports."""
    from foresift.app.doctor import examine
    from foresift.app.workspace import Workspace

    findings = examine(Workspace.open(home))
    if config is not None:
        findings += _deployment(config)
    if as_json:
        emit_json({"findings": [asdict(one) for one in findings], "fine": all(one.fine for one in findings)})
    else:
        for one in findings:
            say(f"{'ok ' if one.fine else 'BAD'}  {one.what}: {one.value}{'; ' + one.advice if one.advice else ''}")
    if not all(one.fine for one in findings):
        raise typer.Exit(1)


def _deployment(config: Path) -> list[Finding]:
    from foresift.core.errors import MissingExtraError

    try:
        from foresift.service.checks import examine_deployment
    except ImportError as error:
        raise MissingExtraError("the server", "server") from error
    return examine_deployment(config)


def digits(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for train/<digit>/ and test/<digit>/.")],
    as_json: Json = False,
) -> None:
    """Write scikit-learn's handwritten digits as 1,797 PNG files, a data set to try things on."""
    from foresift.sources.digits import write_digits

    folder = write_digits(out)
    if as_json:
        emit_json({"folder": str(folder)})
        return
    say(f"1,347 images in {folder}/train, 450 in {folder}/test")


def _show(kind: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit_json({kind: rows})
        return
    width = screen_width()
    table(rows, REGISTRY_COLUMNS if width >= WIDE else NARROW_COLUMNS, width=width)
    if width < WIDE:
        note(f"what each needs and cites: --json, or a screen of {WIDE} characters")


COMMANDS = (strategies, scores, models, digits, doctor)
