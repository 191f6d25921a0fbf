"""What a score is, and the registry of all scores."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.errors import ContractError, UsageError
from foresift.core.registry import Registry
from foresift.kernels.blocks import row_blocks

Array: TypeAlias = npt.NDArray[Any]
Formula: TypeAlias = Callable[..., Values]
"""Columns of b rows to (b,) values; a row's value depends on that row alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """An acquisition function: called with its columns, gives one value a sample.

    Works through the rows in blocks: O(block) memory beside the (n,) result, so that
    memory-mapped columns may be larger than memory.
    """

    name: str
    needs: tuple[str, ...]
    """Columns in the order of the formula's arguments; ``truth`` = class codes of the samples."""
    formula: Formula
    aliases: tuple[str, ...] = ()
    cite: str = ""
    when: str = ""
    """When to use it as a strategy, in one line."""
    several: bool = False
    """Whether it tells members apart, so that it says nothing about a single one."""

    def __call__(self, *columns: Array) -> Values:
        """(n,) values, higher = more informative.

        Args:
            columns: one array of n rows for each of ``needs``.
        Raises:
            UsageError: another number of columns, or columns of different lengths.
        """
        lengths = [len(column) for column in columns]
        if len(columns) != len(self.needs) or len(set(lengths)) != 1:
            raise UsageError(f"{self.name} takes equally long {', '.join(self.needs)}, got lengths {lengths}")
        by_name = dict(zip(self.needs, columns, strict=True))
        return self.over(lengths[0], lambda name, start, stop: by_name[name][start:stop])

    def over(self, n: int, block: Callable[[str, int, int], Array]) -> Values:
        """(n,) values of columns that are fetched as ``block(name, start, stop)``."""
        first = [block(name, 0, min(n, 1)) for name in self.needs]
        values = np.empty(n, dtype=self._values(first).dtype)
        for start, stop in row_blocks(n, width=sum(map(_elements, first))):
            values[start:stop] = self._values([block(name, start, stop) for name in self.needs])
        return values

    def _values(self, columns: list[Array]) -> Values:
        """One block's values; raises ``ContractError`` unless there is one a row."""
        values = self.formula(*columns)
        if values.shape != (len(columns[0]),):
            raise ContractError(
                f"score {self.name!r} must give one value a row, got {values.shape} for {len(columns[0])} rows"
            )
        return values

    @property
    def summary(self) -> str:
        """The first line of the formula's docstring."""
        return first_line(self.formula)


SCORES: Registry[Score] = Registry("score", group="foresift.scores", package="foresift.scores")
"""Every score by name; each is also the strategy that takes its k largest values."""


def score(
    name: str,
    *,
    needs: tuple[str, ...] = ("logits",),
    aliases: tuple[str, ...] = (),
    cite: str = "",
    when: str = "",
    several: bool = False,
) -> Callable[[Formula], Score]:
    """Decorator that registers a formula as a score.

    Args:
        name: lower-case words joined by hyphens.
        needs: columns in the order of the formula's arguments.
        aliases: other names, of the score and of its strategy.
        cite: the publication that defines it.
        when: when to use it as a strategy, in one line.
        several: whether it tells members apart, so that it says nothing about a single one.
    """

    def register(formula: Formula) -> Score:
        made = Score(name=name, needs=needs, formula=formula, aliases=aliases, cite=cite, when=when, several=several)
        return SCORES.add(name, made, aliases=aliases)

    return register


def _elements(columns: Array) -> int:
    """Numbers in a block of a column; of a structured one, 4 bytes count as a number."""
    return columns.size if columns.dtype.names is None else columns.nbytes // 4


class Description(NamedTuple):
    """A row of ``foresift scores`` or ``foresift strategies``."""

    name: str
    aliases: tuple[str, ...]
    needs: tuple[str, ...]
    parameters: tuple[str, ...]
    """``key=default`` of each, ``key`` where there is no default."""
    cite: str
    summary: str
    cost: str = ""
    """Time and memory, of strategies."""
    when: str = ""
    """When to use it."""


def describe() -> list[Description]:
    """Every registered score, by name."""
    return [_described(name, SCORES.get(name)) for name in SCORES]


def first_line(documented: object) -> str:
    """The first line of a docstring; empty if there is none."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _described(name: str, entry: Score) -> Description:
    return Description(
        name, tuple(SCORES.aliases_of(name)), entry.needs, (), entry.cite, entry.summary, when=entry.when
    )
