"""One server of a name in a workspace."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from foresift.app.runs.leases import Held, TakenError
from foresift.core.errors import UsageError
from foresift.core.records import Records


def alone(records: Records, name: str, home: Path) -> ExitStack:
    """The right to be the server of this name here; close it to give it back.

    Raises:
        UsageError: another server has it.
    """
    stack = ExitStack()
    try:
        stack.enter_context(Held(records, f"service/{name}"))
    except TakenError:
        raise UsageError(
            f"another server named {name!r} works in {home}; stop it, or change name: or storage.home"
        ) from None
    return stack
