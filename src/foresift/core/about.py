"""Which Foresift this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def foresift_version() -> str:
    """Version of the installed distribution, such as ``0.1.0``."""
    return version("foresift")
