"""Loops compiled by Numba at their first call. Import a module of such loops only where they run:
Numba itself takes a second to load."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code, kept on disk; sums are added in the order in which they are written."""
    return _compile(function)


def compiled_in_any_order(function: F) -> F:
    """As ``compiled``, but sums may be reordered, which is faster and may differ between processors."""
    return _compile(function, fastmath={"reassoc", "contract", "nsz"})


def _compile(function: F, **options: Any) -> F:
    made: F = import_module("numba").njit(cache=True, nogil=True, **options)(function)
    return made
