"""Servers in environments of their own and optional libraries: where they are, or why a test can't have them."""

from __future__ import annotations

import importlib.util
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


def installed_library(name: str, *, extra: str) -> None:
    """A test that needs an optional library is skipped without it, but never in CI."""
    if importlib.util.find_spec(name) is not None:
        return
    told = f"no {name}; pip install 'foresift[{extra}]'"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)
