"""Many who push to one pool need one look at it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

MOST = 100
"""Pools whose last look is remembered."""


class Looks:
    """The last look at each pool; asked and told by the one thread that carries out jobs.

    A look that began after a job was asked for has seen its samples, because these are written down first.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], tuple[float, dict[str, Any]]] = OrderedDict()

    def since(self, asked_at: float, pool: str, model: Path) -> dict[str, Any] | None:
        """What a look found that began after this moment; None = there was none."""
        began, told = self._last.get((pool, str(model)), (asked_at, {}))
        return told if began > asked_at else None

    def keep(self, began: float, pool: str, model: Path, told: dict[str, Any]) -> None:
        """A look was taken."""
        self._last[pool, str(model)] = (began, told)
        self._last.move_to_end((pool, str(model)))
        while len(self._last) > MOST:
            self._last.popitem(last=False)
