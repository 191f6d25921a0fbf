"""``foresift token``: who may ask a server, and for what."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foresift.cli.options import Json
from foresift.cli.output import emit_json, note, say, table

TokenPath = Annotated[Path, typer.Option("--file", help="File of hashed tokens, auth.tokens of a server.")]
DEFAULT = Path("tokens.json")
app = typer.Typer(help="Make and revoke the tokens of a server.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it; the audit log names it.")],
    scope: Annotated[list[str], typer.Option(help="read, label, run or admin; may be repeated.")],
    file: TokenPath = DEFAULT,
    rate: Annotated[int | None, typer.Option(min=1, help="Requests a minute; the server's limit otherwise.")] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, once: the file keeps its hash alone."""
    from foresift.service.tokens import TokenFile

    token, text = TokenFile(file).create(name, scope, requests_a_minute=rate)
    if as_json:
        emit_json({"token": text, "id": token.id, "name": token.name, "scopes": token.scopes, "file": str(file)})
        return
    say(text)
    note(f"kept in {file} as a hash; this is the only time that it is shown")


@app.command("list")
def show(file: TokenPath = DEFAULT, as_json: Json = False) -> None:
    """List tokens: names, scopes, when they were made and revoked."""
    from foresift.service.tokens import TokenFile

    rows = [{key: value for key, value in asdict(one).items() if key != "sha256"} for one in TokenFile(file).all()]
    if as_json:
        emit_json({"tokens": rows})
        return
    table(rows, ["id", "name", "scopes", "requests_a_minute", "created_at", "revoked_at"])


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of the token.")],
    file: TokenPath = DEFAULT,
    as_json: Json = False,
) -> None:
    """Make a token worthless; a server that runs refuses it from the next request on."""
    from foresift.service.tokens import TokenFile

    token = TokenFile(file).revoke(name)
    if as_json:
        emit_json({"id": token.id, "name": token.name, "revoked_at": token.revoked_at})
        return
    say(f"revoked {token.name} ({token.id})")


GROUPS = {"token": app}
