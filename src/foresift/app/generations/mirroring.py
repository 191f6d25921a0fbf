"""``foresift generations mirror``: MLflow's books are brought up to what the workspace knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresift.app.generations.descent import Member, holders, members
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.stores.files import locked
from foresift.stores.generations import RECORD, WEIGHTS
from foresift.trackers.mlflow import MlflowMirror, Tracked

_NAME = re.compile(r"[\w .-]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A generation and where MLflow has it."""

    generation: str
    run: str
    version: str
    new: bool
    aliases: tuple[str, ...]


def mirror(workspace: Workspace, uri: str, *, name: str = "foresift") -> list[Copy]:
    """Copy every generation that is still there to MLflow, ancestors first; repeated, it adds what is new.

    Args:
        name: of the experiment and of the registered model.
    Raises:
        UsageError: no such address or name.
        StoreError: the server can't be reached, or refuses; what was copied stays.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: expected letters, digits, spaces, dots, - and _")
    with locked(workspace.home / "generations" / ".mirror.lock"):
        server = MlflowMirror(uri, name=name)
        made = [_copied(server, one) for one in members(workspace) if one.there]
        versions = {one.generation: one.version for one in made}
        for alias, holder in holders(workspace).items():
            if holder in versions:
                server.give_alias(alias, versions[holder])
    return made


def _copied(server: MlflowMirror, member: Member) -> Copy:
    kept = server.keep(tracked(member))
    return Copy(
        generation=member.descent.generation,
        run=kept.run,
        version=kept.version,
        new=kept.new,
        aliases=member.aliases,
    )


def tracked(member: Member) -> Tracked:
    """What MLflow is told of a generation."""
    descent, record = member.descent, member.descent.record
    data = record.get("data", {})
    settings = {"architecture": descent.architecture, "seed": record.get("seed"), "labels": descent.labels}
    recipe = {f"recipe.{name}": value for name, value in record.get("recipe", {}).items()}
    folder = Path(descent.folder)
    return Tracked(
        id=descent.generation,
        name=f"{descent.architecture} {descent.generation[:12]}",
        params={name: str(value) for name, value in {**settings, **recipe}.items() if value is not None},
        metrics=_numbers(member.metrics),
        tags={
            "foresift.parent": descent.parent,
            "foresift.heir_of": descent.heir_of,
            "foresift.surrogate": ",".join(descent.surrogates),
            "foresift.receipts": ",".join(part.receipt for part in descent.brought if part.receipt),
            "foresift.pool": str(data.get("pool", "")),
            "foresift.pool_version": str(data.get("version", "")),
            "foresift.target": descent.target,
            "foresift.run": descent.run,
        },
        files=[folder / RECORD, folder / WEIGHTS],
    )


def _numbers(metrics: Mapping[str, Any], *, prefix: str = "") -> dict[str, float]:
    """Metrics that are one number, their names joined by dots."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, prefix=f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = float(value)
    return found
