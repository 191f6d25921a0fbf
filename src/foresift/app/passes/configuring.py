"""How a strategy's parameters reach the passes that make its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

from foresift.strategies import Strategy

FORWARD_COLUMNS = ("logits", "embeddings")
"""What one forward pass gives."""


class Makes(Protocol):
    """A pass: a frozen dataclass whose fields are its parameters."""

    name: ClassVar[str]
    """The column."""


P = TypeVar("P", bound=Makes)


def configured(entry: type[P], strategy: Strategy, *, asked: Mapping[str, Any] | None = None) -> P:
    """A pass whose fields take the values of the strategy's parameters of the same names.

    Args:
        asked: values that were asked for beside the strategy; they come first.
    Raises:
        UsageError: a value out of range.
    """
    given = {**strategy.parameters_for(entry.name), **(asked or {})}
    known: Any = entry
    made: P = entry(**{f.name: given[f.name] for f in fields(known) if f.init and f.name in given})
    return made
