"""``foresift serve`` and ``foresift config``: a server from one YAML file."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from foresift.cli.options import Json
from foresift.cli.output import emit_json, note, say

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file of a server.")]
app = typer.Typer(help="Look at the configuration of a server without starting it.", no_args_is_help=True)


def serve(
    config: ConfigFile,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="HTTP port in place of the file's.")] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Write every request to standard error, as lines of JSON.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve selections over HTTP and, if the file says so, gRPC until interrupted; jobs go on at the next start."""
    from foresift.core.errors import MissingExtraError

    try:
        from foresift.service.server import Server
        from foresift.wire.config import with_http_port
    except ImportError as error:
        raise MissingExtraError("the server", "server") from error
    if log:
        from foresift.service.diary import log_to_stderr

        log_to_stderr()
    server = Server(config_path=config)
    if port is not None:
        server.settings = with_http_port(server.settings, port)
    stop = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, ask)
    with server:
        for line in server.notes:
            note(line)
        if as_json:
            emit_json({"name": server.settings.name, "urls": list(server.urls), "notes": list(server.notes)})
        else:
            say(f"serving {server.settings.name} at {', '.join(server.urls)}")
        sys.stdout.flush()  # whoever reads from a pipe waits for this line
        while not stop.wait(0.5):
            pass
        note("stopping: answering what was asked; jobs go on at the next start")


@app.command("validate")
def validate(config: ConfigFile, as_json: Json = False) -> None:
    """Read a configuration and print what it means, defaults filled in."""
    from foresift.wire.config import read_settings

    settings = read_settings(config)
    plain = settings.model_dump(mode="json")
    plain["auth"]["token"] = None if settings.auth.token is None else "set"
    if as_json:
        emit_json(plain)
        return
    say(f"{config}: fine")
    say(json.dumps(plain, indent=2))


@app.command("schema")
def schema(as_json: Json = False) -> None:
    """Print a JSON Schema of the file, for editors; with --json on one line."""
    from foresift.wire.config import json_schema

    if as_json:
        emit_json(json_schema())
    else:
        say(json.dumps(json_schema(), indent=2))


COMMANDS = (serve,)
GROUPS = {"config": app}
