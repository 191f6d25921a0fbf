"""Servers in environments of their own: where they are, or why a test can't have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def installed_command(variable: str, *, what: str, target: str) -> Path:
    """The command that an environment variable names; a test that needs it is skipped without, but never in CI.

    Args:
        target: of the Makefile, which installs it.
    """
    command = Path(os.environ.get(variable) or "absent")
    if command.is_file():
        return command
    told = f"no {what}; run make {target}, and set {variable} to the command that it names"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)
