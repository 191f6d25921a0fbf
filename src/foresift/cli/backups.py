"""Commands that put a workspace in safety, and bring it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, say

if TYPE_CHECKING:
    from foresift.app.backups import Backup


def backup(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, such as foresift-backup.zip.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write runs, rounds, labels, receipts and pool versions to one file, also while the workspace is in use.

    Caches and weights of models are not in it.
    """
    from foresift.app.backups import back_up
    from foresift.app.workspace import Workspace

    _tell(back_up(Workspace.open(home), out), f"wrote {out}", as_json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that foresift backup wrote.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Bring a backup into an empty workspace, in a file or in the database at FORESIFT_DATABASE_URL."""
    from foresift.app.backups import restore_at

    workspace, done = restore_at(home, file)
    _tell(done, f"restored into {workspace.home}", as_json)


def _tell(done: Backup, what: str, as_json: bool) -> None:
    if as_json:
        emit_json(asdict(done))
        return
    records, files = (_counts(one) for one in (done.records, done.files))
    found = "; ".join(filter(None, (records, files and f"files: {files}")))
    say(f"{what}: {found or 'an empty workspace'} (of {done.created_at})")


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in found.items() if number)


COMMANDS = (backup, restore)
