"""Names to strategies, and the one spelling of a strategy with its parameters."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from foresift.core.errors import UsageError
from foresift.core.registry import Registry, build, parse_spec, spelled
from foresift.scores.registry import SCORES, Description, first_line
from foresift.selection.base import Strategy
from foresift.selection.top_k import TopK, top_of

S = TypeVar("S", bound=type[Strategy])


class StrategyRegistry(Registry[type[Strategy]]):
    """Strategies by name, among them one for every registered score.

    A strategy of the same name as a score takes the place of the one made for the score.
    """

    def add(self, name: str, entry: type[Strategy], *, aliases: tuple[str, ...] = ()) -> type[Strategy]:
        """Register a strategy class under its own name and aliases.

        Raises:
            UsageError: not a strategy, another name than its own, or a name that is taken.
        """
        if not (isinstance(entry, type) and issubclass(entry, Strategy)):
            raise UsageError(f"strategy {name!r} must be a subclass of Strategy, got {entry!r}")
        if entry.name != name:
            raise UsageError(f"strategy {name!r} is registered by another name than its own, {entry.name!r}")
        return super().add(name, entry, aliases=(*entry.aliases, *aliases))

    def _load_plugins(self) -> None:
        super()._load_plugins()
        with self._lock:
            for name in SCORES.names():
                if name not in self._entries:
                    self.add(name, top_of(SCORES.get(name)))


STRATEGIES = StrategyRegistry("strategy", group="foresift.strategies", package="foresift.strategies")
"""Every strategy class by name."""


def strategy(cls: S) -> S:
    """Class decorator that registers a strategy under its ``name`` and ``aliases``."""
    STRATEGIES.add(cls.name, cls)
    return cls


def parse(spec: str) -> Strategy:
    """The strategy that ``NAME``, ``NAME:key=value,...`` or a chain of these joined by ``+`` spells.

    Raises:
        UnknownNameError: no strategy of that name; suggests the nearest.
        UsageError: an unknown parameter, or a value that does not fit.
    """
    if len(stages := split_stages(spec)) > 1:
        from foresift.selection.chain import chain  # here, because chains are made of what this module finds

        return chain(stages, spec=spec)
    name, parameters = parse_spec(spec)
    entry = STRATEGIES.get(name)
    if "keep" in parameters and "keep" not in {f.name for f in fields(entry)}:
        example = f"{name}:keep={parameters['keep']}+k-center"
        raise UsageError(f"{spec!r}: keep belongs to a stage before the last of a chain, as in {example}")
    return build(entry, parameters, spec=spec)


def split_stages(spec: str) -> list[str]:
    """The stages of a chain. A plus before a digit belongs to a number, as in ``1e+20``."""
    return re.split(r"\+(?!\d)", spec)


def describe() -> list[Description]:
    """Every registered strategy, by name."""
    return [_described(STRATEGIES.get(name)) for name in STRATEGIES]


def _described(entry: type[Strategy]) -> Description:
    summary = entry.score.summary if issubclass(entry, TopK) else first_line(entry)
    parameters = tuple(_parameter(f) for f in fields(entry) if f.init)
    aliases = tuple(STRATEGIES.aliases_of(entry.name))
    return Description(entry.name, aliases, entry.needs, parameters, entry.cite, summary, entry.cost, entry.when)


def _parameter(field: Field[Any]) -> str:
    return field.name if field.default is MISSING else f"{field.name}={spelled(field.default)}"
