"""Commands for people who label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, note
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    from foresift.app.runs.labeling import Labeling


def label(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="A file that foresift select --out wrote, RUN/ROUND, or a run that waits."),
    ],
    classes: Annotated[
        str, typer.Option(metavar="A,B,...", help="Names of the classes.", show_default="those of the model or run")
    ] = "",
    annotator: Annotated[
        str, typer.Option(help="Your name, to be kept beside each label.", show_default="in a round, your user name")
    ] = "",
    independent: Annotated[
        bool, typer.Option("--independent", help="Of a round: answer everything, unseen what others said.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Fill in this copy and leave WHAT as it is.")] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond this machine, a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen at.", show_default="8420, or a free one")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Label a selection or a round on one local page: one key a class."""
    from foresift.app.runs.labeling import label_selection
    from foresift.app.runs.round_labeling import label_round
    from foresift.app.workspace import Workspace

    names = _names(classes)
    if _is_file(what):
        if independent:
            raise UsageError("--independent goes with a round; a selection file has one label a row")
        labeling = label_selection(Path(what), classes=names, annotator=annotator, out=out)
    else:
        if out is not None:
            raise UsageError("--out goes with a selection file; foresift labels export writes those of a run")
        labeling = label_round(Workspace.open(home), what, classes=names, annotator=annotator, alone=independent)
    for remark in labeling.notes:
        note(f"note: {remark}")
    _serve(labeling, host=host, port=port, browser=not no_browser)
    answers = labeling.board.answers()
    done = sum(1 for answer in answers if answer)
    if as_json:
        emit_json({"answered": done, "open": len(answers) - done, "kept": labeling.kept, "next": labeling.next_command})
        return
    note(f"{done:,} of {len(answers):,} answered; the labels are in {labeling.kept}")
    if done == len(answers) and labeling.next_command:
        note(f"next: {labeling.next_command}")


def _serve(labeling: Labeling, *, host: str, port: int | None, browser: bool) -> None:
    from foresift.core.errors import MissingExtraError
    from foresift.web.serving import listen, serve

    try:
        from foresift.web.label_page import label_app
    except ModuleNotFoundError as error:
        raise MissingExtraError("foresift label", "web") from error
    address = listen(host, port)
    note(f"label at {address.url} (Ctrl+C stops; every answer is kept at once)")
    serve(label_app(labeling), address, browser=browser)


def _is_file(what: str) -> bool:
    """Whether it can't be a round: a file that is there, or the name of one."""
    return Path(what).exists() or Path(what).suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def _names(classes: str) -> list[str]:
    return [name.strip() for name in classes.split(",") if name.strip()]


COMMANDS = (label,)
