"""``foresift``: the commands, and how errors leave them.

Exit code 0: done. 1: it failed. 2: the request was wrong.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from foresift.cli import (
    backups,
    demo,
    drift,
    embedding,
    ensemble,
    fleet,
    generations,
    hardware,
    inspect,
    labeling,
    labels,
    learn,
    regions,
    runs,
    search,
    selection,
    service,
    study,
    suitability,
    tokens,
)
from foresift.core.errors import ForesiftError, UsageError

_INTERRUPTED = 130

app = typer.Typer(
    name="foresift",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Sifts today's images for tomorrow's model: chooses what people should label.",
)
for _command in (
    *demo.COMMANDS,
    *embedding.COMMANDS,
    *learn.COMMANDS,
    *selection.COMMANDS,
    *labeling.COMMANDS,
    *regions.COMMANDS,
    *search.COMMANDS,
    *inspect.COMMANDS,
    *backups.COMMANDS,
    *hardware.COMMANDS,
    *suitability.COMMANDS,
    *drift.COMMANDS,
    *runs.COMMANDS,
    *generations.COMMANDS,
    *service.COMMANDS,
):
    app.command()(_command)
for _name, _group in {
    **ensemble.GROUPS,
    **labels.GROUPS,
    **study.GROUPS,
    **runs.GROUPS,
    **generations.GROUPS,
    **fleet.GROUPS,
    **service.GROUPS,
    **tokens.GROUPS,
}.items():
    app.add_typer(_group, name=_name)


def _version(wanted: bool) -> None:
    if wanted:
        from foresift.core.about import foresift_version

        print(foresift_version())  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line; every error that is expected ends as one line on standard error."""
    try:
        if len(sys.argv) == 1:
            app(["--help"], standalone_mode=False)
            raise SystemExit(2)
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:  # Typer has caught it already
            raise KeyboardInterrupt
        raise SystemExit(code if isinstance(code, int) else 0)
    except ForesiftError as error:
        _fail(str(error), error, code=2 if isinstance(error, UsageError) else 1)
    except typer.TyperException as error:
        _fail(_usage(error), error, code=2)
    except BrokenPipeError:
        # The reader of our output left; that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except (OSError, MemoryError) as error:
        _fail(str(error) or "out of memory; close other programs or use a smaller --batch", error, code=1)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; what was stored is kept, run the same command again to go on", file=sys.stderr)  # noqa: T201
        raise SystemExit(_INTERRUPTED) from None


def _usage(error: Any) -> str:
    """The message of a wrong option, and where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "foresift"
    return f"{error.format_message()} See: {command} --help"


def _fail(text: str, error: BaseException, *, code: int) -> None:
    line = " ".join(text.split())
    if "--json" in sys.argv:
        from foresift.cli.output import emit_json

        emit_json({"error": line, "kind": type(error).__name__})
    print(f"foresift: {line}", file=sys.stderr)  # noqa: T201
    raise SystemExit(code) from None
